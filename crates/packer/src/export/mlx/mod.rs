//! A model as mlx-lm loads it.

pub(crate) mod architecture;
mod config;
pub(super) mod contents;
mod quantization;
