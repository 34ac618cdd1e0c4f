//! Compares the kernels, compiled for the host and as PTX, with `longshore-quant`, and tests the launches.

mod cases;
mod exhaustive;
mod golden;
mod harness;
mod launch;
mod ptx;
mod random;
