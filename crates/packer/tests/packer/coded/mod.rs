//! Checkpoints that are already quantized, assembled byte by byte. Expected values are computed here from the
//! definitions of the formats, never by the code under test.

mod blocks;
mod checkpoint;
mod doubtful;
mod fp4;
mod fp8;
mod hostile;
mod integers;
mod memory;
mod mlx;
mod modules;
mod numbers;
mod nvfp4;
mod refused;
mod requantize;
mod shared;
