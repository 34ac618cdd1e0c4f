//! What the benchmarks share: synthetic checkpoints, times and medians.

pub mod checkpoint;
pub mod stats;
