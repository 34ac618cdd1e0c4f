//! Kernels for 64-bit Arm with NEON, which every such processor has.
//!
//! The results have the bits of the portable kernels. As with AVX2, each kernel takes shortcuts for ordinary numbers
//! and leaves all other groups or batches to the portable kernel, so no rule about NaN, infinities or overflow exists
//! twice.
//!
//! Vectors have 128 bits. A unit of work is sixteen elements in four vectors of `f32`, always in their natural order,
//! whose codes are one vector of bytes. Division is true division. Vectors are read, written, widened and looked up by
//! value, so the only unsafe operation is the call of each kernel.
//!
//! The searches of [`Profile::Best`](crate::Profile::Best) have no kernels here: they are loops over arrays, which
//! compilers turn into NEON instructions in the portable build. Prefetching is left to the processor.
//!
//! Nothing has been measured on hardware. In place of speed, this table gives the instructions that an emulator
//! executes per BF16 weight. int4 and int8 have groups of 64; int8 is encoded with the profile `mlx`, the others with
//! `plus`:
//!
//! ```text
//!                     int4   int8   nvfp4   mxfp4   mxfp8
//! encode   neon        3.0    2.8     6.2     4.5     4.3
//!          portable   12.2   11.5    20.2    13.6    13.2
//! decode   neon        2.1    4.3     4.4             3.6
//!          portable   10.6   10.1    12.9             9.6
//! ```

mod affine;
mod affine_decode;
mod block_decode;
mod e2m1;
mod element;
mod kernels;
mod minifloat;
mod mx;
mod nvfp4;
mod pack;
mod reduce;
mod values;

pub(crate) use kernels::Neon;
