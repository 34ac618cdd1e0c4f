//! How long work tells how far it is, and how it is stopped.

/// Told how far a long operation is; asked whether it should stop.
///
/// Called from many threads at once. Every method has a default that does nothing.
pub trait Progress: Sync {
    /// A stage starts, which will handle `total` bytes.
    fn begin(&self, stage: &'static str, total: u64) {
        let _ = (stage, total);
    }

    /// So many more bytes of the stage are done.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Whether the operation should stop; asked at least once per chunk of data.
    fn cancelled(&self) -> bool {
        false
    }
}

/// A [`Progress`] that nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
