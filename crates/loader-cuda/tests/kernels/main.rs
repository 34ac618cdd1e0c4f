//! The kernels, compiled for the host and as PTX, against `longshore-quant`; and what is launched for which tensor.

mod cases;
mod exhaustive;
mod golden;
mod harness;
mod launch;
mod ptx;
mod random;
