//! The kernels, compiled for the host, against `longshore-quant`; and what is launched for which tensor.

mod cases;
mod exhaustive;
mod golden;
mod harness;
mod launch;
mod random;
