//! What needs MLX itself.

mod base;
mod ffi;
mod load;
mod quantized;
mod tensor;
mod view;

pub use ffi::MlxError;
pub(crate) use load::load;
pub use quantized::QuantizedTensor;
pub use tensor::Tensor;
