//! The parts that need MLX itself.

mod base;
mod ffi;
mod load;
mod quantized;
mod reader;
mod view;

pub(crate) use load::{is_mapped, load};
