//! Progress of long operations, and their cancellation.

/// Receiver of an operation's progress. It also decides whether the operation stops early.
///
/// The methods are called from many threads at once. Each has a default that does nothing.
pub trait Progress: Sync {
    /// Starts a stage that will handle `total` bytes.
    fn begin(&self, stage: &'static str, total: u64) {
        let _ = (stage, total);
    }

    /// Adds `bytes` to the bytes of the current stage that are done.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Says what the current stage is working on, such as a file.
    fn at(&self, what: &str) {
        let _ = what;
    }

    /// Whether the operation should stop. Operations ask at least once per chunk of data.
    fn cancelled(&self) -> bool {
        false
    }
}

/// A [`Progress`] that ignores all reports and never cancels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
