//! MLX's quantized tensor formats, exactly: float tensors in, packed codes with scales and biases out, and back.
//!
//! - A [`Scheme`] is a format with a group size. It determines the [`Parts`] that a tensor is encoded into.
//! - An [`Encoder`] turns rows of floats into these parts, and a [`Decoder`] turns the parts into floats again. Both
//!   stream over byte slices that the caller owns, and allocate nothing. The [`Profile`] determines how an encoder
//!   picks codes: the bits of MLX itself, or better codes in the same format. [`GlobalScale`] and [`Importance`] steer
//!   an encoder.
//! - An [`ErrorMeasure`] measures what quantization has lost.
//! - [`matmul`] multiplies by weights as they are stored.
//! - A [`policy`] chooses a scheme for each tensor of a checkpoint.
//! - [`layout`] reads weights that other tools have quantized already. [`ggml`] has the block types of GGUF files.
//!
//! The crate is pure Rust, needs no GPU, and encodes to the same bytes on every machine. It has kernels for AVX2
//! and AVX-512, chosen at run time where the processor has them, and for NEON on 64-bit Arm.
//!
//! Lengths are checked before anything is written: [`EncodeError`], [`DecodeError`] and
//! [`LayoutError`](layout::LayoutError) name the part, and the expected and actual number of bytes. [`SchemeError`] is
//! about names and shapes, and [`PolicyError`](policy::PolicyError) about lines of a policy. Values that no scheme can
//! hold are not an error; [`EncodeStats`] counts them.
//!
//! The feature `policy`, on by default, adds policies and the parser of their TOML. The feature `rayon`, off by
//! default, adds functions that encode and decode a tensor on all threads.
//!
//! ```
//! use longshore_quant::{Decoder, EncodeBuffers, Encoder, FloatType, Profile, Scheme};
//!
//! // Two rows of 64 F32 weights, as they lie in a file.
//! let weights: Vec<f32> = (0..128u8).map(|i| (f32::from(i) * 0.37).sin() * 0.02).collect();
//! let source: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
//!
//! let scheme: Scheme = "int8".parse()?;
//! let parts = scheme.parts(FloatType::F32, &[2, 64])?;
//! assert_eq!(parts.weight.shape, [2, 16]); // four codes to a 32-bit word
//! assert_eq!(parts.scale.shape, [2, 1]);
//!
//! let len = scheme.encoded_len(2, FloatType::F32).expect("two groups fit in memory");
//! let (mut weight, mut scale, mut bias) = (vec![0; len.weight], vec![0; len.scale], vec![0; len.bias]);
//! let stats = Encoder::new(scheme, FloatType::F32, Profile::Plus)
//!     .encode(&source, EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias })?;
//! assert_eq!(stats.non_finite, 0);
//!
//! let mut restored = vec![0; source.len()];
//! Decoder::new(scheme, FloatType::F32, FloatType::F32).decode(&weight, &scale, &bias, &mut restored)?;
//! for (bytes, weight) in restored.chunks_exact(4).zip(&weights) {
//!     let value = f32::from_le_bytes(bytes.try_into()?);
//!     assert!((value - weight).abs() < 2e-4);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little")))]
mod batch;
mod decode;
mod dispatch;
mod encode;
mod float;
mod global_scale;
mod importance;
mod kernels;
pub mod layout;
mod level;
pub mod matmul;
mod measure;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
#[cfg(feature = "rayon")]
mod parallel;
#[cfg(feature = "policy")]
pub mod policy;
mod portable;
mod profile;
mod scheme;
mod search;

pub use decode::{DecodeError, Decoder};
pub use encode::{EncodeBuffers, EncodeError, EncodeStats, Encoder};
pub use float::{FloatType, UnknownFloatType};
pub use global_scale::{GlobalScale, InvalidGlobalScale};
pub use importance::{Importance, ImportanceError};
pub use layout::ggml;
#[doc(hidden)]
pub use level::Level;
pub use measure::{ErrorMeasure, MeasureError};
pub use profile::{Profile, UnknownProfile};
pub use scheme::{EncodedLen, Format, Part, PartKind, Parts, Scheme, SchemeError};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
