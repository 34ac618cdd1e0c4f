//! Packed codes to floats in device memory.
//!
//! A [`Dequantize`] says what is decoded: scheme, types and extents. [`Dequantize::launch`] checks it against the [`Addresses`] of the parts and
//! gives the [`Launch`], kernel, grid and arguments, without a driver. A [`Dequantizer`] gives that to the driver.
//!
//! # What is computed
//!
//! The same as [`longshore_quant::Decoder`], to the bit but for the payload and sign of a NaN. With `round` to nearest, ties to even:
//!
//! | scheme | F32 output | F16 or BF16 output, *S* the type of the scales |
//! |---|---|---|
//! | `int2` … `int8` | round(round(code × scale) + bias) | the same with each step rounded to *S*, then to the output |
//! | `nvfp4` | code × (scale × global scale), each step rounded to F32 | the same, then rounded to the output |
//! | `mxfp4`, `mxfp8` | code × scale | code × scale with the scale rounded to the output, then rounded to the output |
//!
//! The formulas are those of `mx.dequantize` on MLX's CPU backend; `crates/quant` says where. A product is never fused with a sum. Codes are
//! E2M1 or E4M3 numbers, scales E4M3 (nvfp4) or powers of two (mx). Without a global scale that of nvfp4 is 1.
//!
//! # How
//!
//! The kernels lie in `kernels/` as CUDA C++ and as the PTX that it compiles to, which the driver compiles for the device that is there: any of
//! compute capability 8.0 or later, with a driver of CUDA 12.1 or later. There is a kernel for each scheme, type of scales and type of
//! output, and a module of PTX for each scheme, which is loaded when it is first needed.

mod driver;
mod error;
mod kernel;
mod launch;

pub use driver::Dequantizer;
pub use error::DequantizeError;
pub use kernel::Kernel;
pub use launch::{Addresses, Arguments, Dequantize, GlobalScaleAddress, Launch, PartBytes};
