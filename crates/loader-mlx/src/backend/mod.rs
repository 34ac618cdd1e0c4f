//! The parts that need MLX itself.

mod base;
mod ffi;
mod load;
mod quantized;
mod reader;
mod tensor;
mod view;

pub use ffi::MlxError;
pub(crate) use load::{is_mapped, load};
pub use quantized::QuantizedTensor;
pub use tensor::Tensor;
