//! Progress of long work, and the way to stop it.

/// Told how far a long operation is; asked whether it should stop.
///
/// Called from many threads at once. Every method has a default that does nothing.
pub trait Progress: Sync {
    /// A stage starts, which will handle `total` bytes.
    fn begin(&self, stage: &'static str, total: u64) {
        let _ = (stage, total);
    }

    /// Reports that this number of further bytes of the stage is done.
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
