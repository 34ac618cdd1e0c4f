//! Limits of traces.

/// Most that a reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceLimits {
    /// Layers.
    pub layers: usize,
    /// Experts in a layer.
    pub experts: u32,
    /// Bytes of a line.
    pub line_bytes: usize,
    /// Choices of a [`Trace`](crate::Trace) that is kept in memory: tokens × layers × experts of a token. Each takes 4 bytes.
    pub choices: usize,
}

impl Default for TraceLimits {
    /// Allows 4,096 layers, 65,536 experts in each, lines of 1 MiB, and 2²⁷ choices.
    fn default() -> Self {
        Self { layers: 4096, experts: 1 << 16, line_bytes: 1 << 20, choices: 1 << 27 }
    }
}
