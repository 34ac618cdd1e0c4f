//! What the benchmarks share: synthetic checkpoints, chunks, times and medians.

pub mod checkpoint;
pub mod chunks;
pub mod stats;
