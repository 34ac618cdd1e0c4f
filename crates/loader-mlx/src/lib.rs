//! Stored model weights as MLX arrays, quantized as they are.
//!
//! [`MlxWeights`] opens a model of a [store](manifest::Store), a directory or some safetensors files, and loads its tensors as
//! arrays of [`mlx-rs`](https://docs.rs/mlx-rs). Each file is mapped once, and tensors are views of windows of it: nothing is copied where
//! MLX takes foreign memory, on Metal and as `linux/setup.sh` builds it, and everything once where it does not or where [`Memory::Copied`] asks for
//! it. [`LoadOutcome`] tells which it was.
//!
//! Quantized tensors come as `QuantizedTensor`s, whose parts fit MLX's `quantized_matmul` and `gather_qmm` in every mode.
//!
//! # Where there is MLX
//!
//! On macOS the crate builds MLX with Metal, with nothing else to do. On Linux the script `linux/setup.sh` of this crate prepares MLX's CPU
//! back end once, and sets `cfg(longshore_mlx)`. Everywhere else, and before, the crate builds without MLX: every type
//! and function is there, weights open, and [`MlxWeights::load`] answers [`LoadError::NotBuilt`].
//!
//! # Files must not change
//!
//! Nobody may truncate or change a file while it is mapped, by weights that are open or by arrays: a read beyond its new end kills the process. A store
//! never does. Arrays cannot be written through to the files: the mapping is private.
//!
//! The crates whose types are part of this interface are re-exported as [`manifest`], [`model`], [`quant`] and [`st_format`], and `mlx_rs`
//! where there is MLX, so that a program needs to depend on this crate alone.
//!
//! ```no_run
//! use longshore_loader_mlx::{
//!     Array, LoadOptions, MlxWeights,
//!     manifest::{ModelName, Store, weights::plan::Selection},
//! };
//!
//! fn load(store: &Store, name: &ModelName) -> Result<MlxWeights, Box<dyn std::error::Error>> {
//!     let mut weights = MlxWeights::open(store, &store.model(name)?, &Selection::default())?;
//!     weights.load(&LoadOptions::default())?;
//!     Ok(weights)
//! }
//!
//! /// Feeds experts that are picked by index, without decoding their weights.
//! fn feed(weights: &MlxWeights, x: &Array, picked: &Array) -> Result<Array, Box<dyn std::error::Error>> {
//!     let up = weights.get("model.layers.0.mlp.experts.up_proj.weight")?.quantized().ok_or("it is not quantized")?;
//!     Ok(up.gather_matmul(x, None, picked, false)?)
//! }
//! ```

#[cfg(not(any(target_os = "macos", longshore_mlx)))]
mod absent;
#[cfg(any(target_os = "macos", longshore_mlx))]
mod backend;
mod dtype;
mod error;
mod map;
mod plan;
mod quantized;
mod source;
mod tensor;
mod weights;

#[cfg(not(any(target_os = "macos", longshore_mlx)))]
pub use absent::Array;
pub use error::MlxError;
pub use map::FileError;
#[cfg(any(target_os = "macos", longshore_mlx))]
pub use mlx_rs::{self, Array};
pub use quantized::QuantizedTensor;
pub use source::OpenError;
pub use tensor::Tensor;
pub use weights::{GetError, LoadError, LoadOptions, LoadOutcome, Memory, MlxWeights};

pub use longshore_manifest as manifest;
pub use longshore_model as model;
pub use longshore_quant as quant;
pub use longshore_st_format as st_format;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
