//! Export of a model for mlx-lm.

pub(crate) mod architecture;
mod config;
pub(super) mod contents;
mod quantization;
