//! Reports of loads.

use std::time::Duration;

use longshore_manifest::weights::plan::LoadPlan;

use crate::CallError;

/// Numbers about one load. Bytes include all companions of quantized tensors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// Number of tensors.
    pub tensors: usize,
    /// Bytes of the tensors on the device.
    pub bytes: u64,
    /// Part of `bytes` that was already on the device.
    pub reused_bytes: u64,
    /// Bytes that were read from blobs.
    pub read_bytes: u64,
    /// Part of `read_bytes` that was read past the page cache.
    pub direct_bytes: u64,
    /// Part of `direct_bytes` that `io_uring` read, with many reads at once. `pread` read the others, one read at a
    /// time.
    pub ring_bytes: u64,
    /// Bytes that were allocated on the device: the tensors, and the padding between them.
    pub arena_bytes: u64,
    /// Number of blobs that were read.
    pub blobs: usize,
    /// Number of blobs whose digest was verified.
    pub verified_blobs: usize,
    /// Number of those whose chunks were hashed, each against its digest in the table, and not the whole.
    pub verified_by_chunks: usize,
    /// Number of blobs whose digest could not be verified, because only a part of the blob was read.
    pub partly_read_blobs: usize,
    /// Time from the start of planning until the last byte is on the device.
    pub time: Duration,
    /// The bytes per second at which the device took pinned memory right after that, where [`measure_link`] asked for it: the loader's own
    /// ring, copied over and over on its streams. No load can be faster. It needs 256 MiB of the device while it lasts, or an eighth of what
    /// is free; where those cannot be had or a copy fails, the driver's error, which is not the load's.
    ///
    /// [`measure_link`]: crate::LoadOptions::measure_link
    pub link: Option<Result<u64, CallError>>,
}

impl LoadReport {
    pub(super) fn of(plan: &LoadPlan, verify: bool) -> Self {
        let whole = plan.blobs.iter().filter(|blob| verify && blob.is_whole).count();
        let parts = || plan.tensors.iter().flat_map(|tensor| &tensor.parts);
        Self {
            tensors: plan.tensors.len(),
            bytes: plan.bytes(),
            reused_bytes: parts().filter(|part| part.arena.is_none()).map(|part| part.len).sum(),
            read_bytes: plan.read_bytes(),
            arena_bytes: plan.arena_bytes,
            blobs: plan.blobs.len(),
            verified_blobs: whole,
            partly_read_blobs: if verify { plan.blobs.len() - whole } else { 0 },
            ..Self::default()
        }
    }
}
