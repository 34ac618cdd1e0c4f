//! Runs stored models on the CPU, still quantized, from their mapped blobs.
#![forbid(unsafe_code)]

pub mod text;
