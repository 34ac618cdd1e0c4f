//! What the benchmarks share: synthetic checkpoints, threads, and medians.

pub mod checkpoint;
pub mod stats;
