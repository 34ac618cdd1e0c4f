//! Products with weights as they are stored: y = x Wᵀ from mapped bytes, which are neither expanded nor copied.
//!
//! | what | shape | type |
//! |---|---|---|
//! | the input x | `[rows, in]` | `f32` |
//! | the weights W | `[out, in]` | a scheme's parts, blocks of ggml, or F32, F16, BF16 |
//! | the output y | `[rows, out]` | `f32` |
//!
//! [`Weights`] borrow the bytes of a tensor as a file has them, at any alignment: the parts that [`Scheme::parts`]
//! describes, with scales and biases of any [`FloatType`], or the rows of a GGUF tensor. A [`Multiplier`] multiplies one
//! row of an input or many, several matrices that share an input, and experts that are picked by index. Shards are
//! ranges of output rows, [`Weights::range`]; a table of embeddings is read by [`Weights::decode_rows`].
//!
//! ```
//! use longshore_quant::{FloatType, Scheme, matmul::{Multiplier, Precision, Weights}};
//!
//! // A mapped blob: 2 × 64 codes of 4 bits, then a BF16 scale and a BF16 bias for each row.
//! let blob: Vec<u8> = [[0x98; 64].as_slice(), &[0x80, 0x3F, 0x00, 0x40], &[0x00, 0xC1, 0x00, 0x00]].concat();
//! let parts = [&blob[..64], &blob[64..68], &blob[68..]];
//! let weights = Weights::encoded(Scheme::INT4, FloatType::BF16, [2, 64], parts)?;
//! let (x, mut y) = ([0.5; 64], [0.0; 2]);
//! Multiplier::new(Precision::Exact).multiply(weights, 1, &x, &mut y)?;
//! // The codes are 8, 9, 8, 9 …: times 1 less 8 in the first row, times 2 in the second.
//! assert_eq!(y, [16.0, 544.0]);
//! # Ok::<(), longshore_quant::matmul::MatmulError>(())
//! ```
//!
//! # Precision
//!
//! The exact path multiplies the numbers that a [`Decoder`] gives by the input as it is, and adds in `f32`: the error
//! (L2, relative to a product in `f64`) is below 1e-6 for rows of some thousand elements. Infinities and NaN give what
//! IEEE arithmetic gives.
//!
//! The fast path rounds each group of the input to integers under its largest magnitude: of 14 bits for weights of 8
//! bits, of 8 bits for smaller ones. Under `mxfp8`, floats and other blocks of ggml it is exact. Errors as a test
//! measures them with normal weights, where *gated* is silu(a) × b of normal a and b, and *outliers* are normal numbers
//! of which 1 % are 20 times as large:
//!
//! | weights | normal | gated | outliers |
//! |---|---|---|---|
//! | `int2-g64` | 0.58 % | 1.1 % | 1.6 % |
//! | `int3-g64` | 0.54 % | 1.1 % | 1.6 % |
//! | `int4-g64`, `int5-g64`, `int6-g64` | 0.55 % | 1.1 % | 1.6 % |
//! | `int8-g64` | 0.009 % | 0.017 % | 0.023 % |
//! | `int2-g32` | 0.53 % | 0.92 % | 1.1 % |
//! | `int3-g32`, `int5-g32`, `Q4_1` | 0.52 % | 0.91 % | 1.1 % |
//! | `int4-g32`, `int6-g32`, `Q4_0`, `Q5_0`, `Q5_1`, `Q4_K`, `Q5_K` | 0.52 % | 0.90 % | 1.1 % |
//! | `int8-g32`, `Q8_0` | 0.008 % | 0.014 % | 0.017 % |
//! | `int2-g128` | 0.63 % | 1.3 % | 2.2 % |
//! | `int3-g128`, `int4-g128`, `int5-g128`, `int6-g128` | 0.62 % | 1.3 % | 2.1 % |
//! | `int8-g128` | 0.009 % | 0.022 % | 0.032 % |
//! | `nvfp4`, `Q6_K` | 0.49 % | 0.71 % | 0.78 % |
//! | `mxfp4` | 0.52 % | 0.90 % | 1.2 % |
//!
//! int4 itself is off by 8.9 %, `Q6_K` by 1.8 %, and int8 by 0.5 %, so the input never costs more than the weights do. A
//! group with a number that is not finite makes every sum that it is part of NaN. A group whose magnitudes are all below
//! 2^-100 counts as zeros.
//!
//! # Bits
//!
//! On both paths the order of sums is fixed: a number of the output has the same bits alone and in a batch, in a shard,
//! at any number of threads, and with every set of instructions. There are kernels for AVX2, AVX-VNNI and AVX-512 with
//! VNNI, chosen at run time. 64-bit Arm has kernels for NEON on the fast path. Everything else is the portable code that
//! the tests compare the kernels with.
//!
//! # Speed
//!
//! The example `products` multiplies on request, and `benches/compare/run.py products` compares it with ggml and candle.
//! One row of an input reads each weight once; some rows, four to seven, repeat that from the nearest cache. From then on
//! a tile of weights is expanded once for all of them, so that more rows cost little more until sixteen, and then cost in
//! proportion. With AVX-512 one row is bound by the bytes of the weights, from memory as from the third-level cache, as
//! long as rows have some thousand elements; rows of some hundred are bound by what each costs at its end. Many rows are
//! bound by the dot products of bytes.
//!
//! Several threads take part from some hundred thousand products on: those of [`Threads`] that are
//! [installed](Threads::install), else, with the feature `rayon`, those of the current rayon pool, which come later. Both
//! wait up to a tenth of a millisecond for the next product before they sleep. [`Threads`] compute other loops of the
//! caller too. Matrices that share an input spare a wait between products: [`multiply_all`](Multiplier::multiply_all).
//!
//! # Errors
//!
//! [`MatmulError`] names what does not fit, with what is expected and what was found. Nothing has been written then.
//!
//! [`Decoder`]: crate::Decoder
//! [`FloatType`]: crate::FloatType
//! [`Scheme::parts`]: crate::Scheme::parts

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod error;
mod exact;
mod fast;
mod level;
mod multiplier;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
mod scratch;
mod task;
mod threads;
mod weights;

pub use error::MatmulError;
#[doc(hidden)]
pub use level::Level;
pub use multiplier::{ExpertRows, Multiplier, Precision, Product};
pub use threads::Threads;
pub use weights::Weights;
