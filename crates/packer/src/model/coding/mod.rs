//! How a source stores the values of its tensors: as they are, as 8-bit floats with scales, or as packed codes.
//!
//! A quantized weight of a checkpoint is several tensors of its files. Here they become one
//! [`ModelTensor`](super::tensor::ModelTensor), with the name, type and shape that it has in a float checkpoint, so that stacking and
//! policies need not know how it is stored.

pub(crate) mod error;
mod files;
pub(crate) mod fp8;
pub(crate) mod kind;
mod mlx;
mod packed;
pub(crate) mod read;
mod transposed;
mod unknown;
