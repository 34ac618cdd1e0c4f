//! Kernels for 64-bit Arm with NEON, which every such processor has.
//!
//! The bits are those of the portable kernels. As with AVX2, each kernel has shortcuts that hold for ordinary numbers and
//! leaves the rest, group by group or batch by batch, to the portable one, so that no rule about NaN, infinities or overflow
//! exists twice.
//!
//! Vectors are of 128 bits. A unit of work is sixteen elements in four vectors of `f32`, always in their natural order, whose
//! codes are one vector of bytes. Division is true division, and what is read, written, widened or looked up goes by value:
//! what is unsafe is one call of each kernel.
//!
//! The searches of [`Profile::Best`](crate::Profile::Best) have nothing to gain here: they are loops over arrays, which
//! compilers turn into these instructions in the portable build. Prefetching is left to the processor.
//!
//! Nothing has been measured on hardware. Instead of speed, here are the instructions that an emulator executes for each
//! BF16 weight, of which int4 and int8 are in groups of 64; int8 encodes as `mlx`, the others as `plus`:
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
