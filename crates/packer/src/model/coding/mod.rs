//! The ways in which a source stores the values of its tensors: plain, as 8-bit floats with scales, or as packed codes.
//!
//! A quantized weight of a checkpoint is stored as several tensors. This module turns them into one
//! [`ModelTensor`](super::tensor::ModelTensor) with the name, type and shape of a float checkpoint, so that stacking
//! and policies need not know how the weight is stored.

mod doubtful;
pub(crate) mod error;
mod extents;
mod files;
pub(crate) mod fp8;
pub(crate) mod kind;
mod mlx;
mod packed;
pub(crate) mod read;
mod transposed;
mod unknown;
mod unmatched;
