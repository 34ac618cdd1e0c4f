//! What the benchmarks share: synthetic checkpoints, chunks, times and medians.

pub mod checkpoint;
pub mod chunks;
pub mod stats;

/// Compiles the example of the repository's README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
