//! What the benchmarks share: synthetic checkpoints, times and medians.

pub mod checkpoint;
pub mod stats;

/// Compiles the example of the repository's README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
