//! Decodes packed codes to floats in device memory.
//!
//! A [`Dequantize`] describes a tensor to decode: its scheme, types and extents. [`Dequantize::launch`] checks the
//! [`Addresses`] of the parts and computes a [`Launch`] (kernel, grid and arguments) without a driver. A
//! [`Dequantizer`] passes the launch to the driver.
//!
//! # Results
//!
//! The results have the bits of [`longshore_quant::Decoder`], except for the payload and the sign of a NaN. With
//! `round` to nearest, ties to even:
//!
//! | scheme | F32 output | F16 or BF16 output, *S* the type of the scales |
//! |---|---|---|
//! | `int2` … `int8` | round(round(code × scale) + bias) | the same with each step rounded to *S*, then to the output |
//! | `nvfp4` | code × (scale × global scale), each step rounded to F32 | the same, then rounded to the output |
//! | `mxfp4`, `mxfp8` | code × scale | code × scale with the scale rounded to the output, then rounded to the output |
//!
//! These are the formulas of `mx.dequantize` on MLX's CPU backend; `crates/quant` refers to the places in its source. A
//! product is never fused with a sum. Codes are E2M1 or E4M3 numbers, scales E4M3 (nvfp4) or powers of two (mx). The
//! default global scale of nvfp4 is 1.
//!
//! # Implementation
//!
//! `kernels/` holds the kernels as CUDA C++ and as the PTX that it compiles to. The driver compiles the PTX for the
//! actual device, which must have compute capability 8.0 or later, with a driver of CUDA 12.1 or later. There is a
//! kernel for each scheme, type of scales and type of output, and a PTX module for each scheme. A module is loaded on
//! its first use.

mod driver;
mod error;
mod kernel;
mod launch;

pub use driver::Dequantizer;
pub use error::DequantizeError;
pub use kernel::Kernel;
pub use launch::{Addresses, Arguments, Dequantize, GlobalScaleAddress, Launch, PartBytes};
