//! What a load did.

use std::time::Duration;

use longshore_manifest::weights::plan::LoadPlan;

use crate::CallError;

/// What a load did. Bytes are counted with every companion of a quantized tensor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// The tensors.
    pub tensors: usize,
    /// Their bytes on the device.
    pub bytes: u64,
    /// Of those, the bytes that were on the device already.
    pub reused_bytes: u64,
    /// The bytes that were read from blobs.
    pub read_bytes: u64,
    /// Of those, the bytes that were read past the page cache.
    pub direct_bytes: u64,
    /// Of those, the bytes that were read many reads at once, by `io_uring`; the others a read at a time, by `pread`.
    pub ring_bytes: u64,
    /// The bytes that were allocated on the device: the tensors, and padding between them.
    pub arena_bytes: u64,
    /// The blobs that were read.
    pub blobs: usize,
    /// The blobs whose digest was checked.
    pub verified_blobs: usize,
    /// The blobs whose digest was to be checked and could not be, as only a part of them was wanted.
    pub partly_read_blobs: usize,
    /// How long it took, from the plan to the last byte on the device.
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
