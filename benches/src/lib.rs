//! Code that the benchmarks share: synthetic checkpoints, chunks, sums, times and medians.

pub mod checkpoint;
pub mod chunks;
pub mod stats;
pub mod words;

/// Compiles the examples of the repository's README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
