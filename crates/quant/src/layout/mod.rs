//! Reads quantized weights in the layouts of published checkpoints: decodes them to floats, or repacks them without
//! loss where MLX's formats can hold the same values.
//!
//! | published as | here | in MLX's formats |
//! |---|---|---|
//! | FP8 in blocks, per channel or per tensor | [`ScaledFp8`] | mxfp8, exactly, under power-of-two scales for whole groups |
//! | NVFP4 of `ModelOpt` or compressed-tensors | the bytes are nvfp4's; [`global_scale_of_divisor`] | nvfp4, exactly |
//! | MXFP4 of gpt-oss, `*_blocks` and `*_scales` | the bytes are mxfp4's; [`every_nth_row`] | mxfp4, exactly |
//! | AWQ, GPTQ | [`Transposed`] | affine, exactly but for the rounding of its biases |
//! | compressed-tensors `pack-quantized`, symmetric | the bytes are affine's; [`symmetric_biases`] | affine, exactly |
//!
//! The blocks of GGUF files are a module of their own, [`ggml`].
//!
//! All functions stream: they process a range of rows at a time, from and into byte slices that the caller owns.
//!
//! ```
//! use longshore_quant::{FloatType, layout::{Fp8, Fp8Scales, ScaledFp8}};
//!
//! // Two rows of 32 elements with one scale for all. The byte 0x38 is 1.0.
//! let scale = 0.25f32.to_le_bytes();
//! let weights = ScaledFp8::new(Fp8::E4m3, [2, 32], [2, 32], Fp8Scales::Float(FloatType::F32, &scale))?;
//! let mut out = [0; 32 * 4];
//! weights.decode_rows(1, &[0x38; 32], FloatType::F32, &mut out)?;
//! assert_eq!(out[..4], 0.25f32.to_le_bytes());
//! // A quarter is a power of two, so nothing is lost in mxfp8, whose codes are these bytes.
//! let mut scales = [0; 2];
//! weights.mxfp8_scales(0, &mut scales)?;
//! assert_eq!(scales, [125, 125]);
//! # Ok::<(), longshore_quant::layout::LayoutError>(())
//! ```

mod error;
mod fp8;
pub mod ggml;
mod relabel;
mod transposed;

pub use error::LayoutError;
pub use fp8::{Fp8, Fp8Scales, ScaledFp8};
pub use relabel::{every_nth_row, global_scale_of_divisor, symmetric_biases};
pub use transposed::{Packing, Transposed, TransposedParts};
