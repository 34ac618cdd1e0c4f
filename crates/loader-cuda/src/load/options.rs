//! How weights are loaded.

use longshore_manifest::{Progress, Silent};
use longshore_st_format::Dtype;

use crate::ColdReads;

/// What a [`Loader`](crate::Loader) is made of. Fields may be added: `..Default::default()` gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderOptions {
    /// The size of a staging buffer in bytes, which is also the most that is copied at once; rounded up to a multiple of 4 KiB.
    /// Larger ones cost cache, smaller ones cost calls; the default is 2 MiB.
    pub slot_bytes: usize,
    /// The most threads that read, the calling one included; 12, or as many as there are processors if that is fewer.
    pub threads: usize,
    /// The staging buffers of each thread; 2, so that one is filled while the other is copied.
    pub slots_per_thread: usize,
    /// The streams that copies are spread over; 2.
    pub streams: usize,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { slot_bytes: 2 << 20, threads: processors.min(12), slots_per_thread: 2, streams: 2 }
    }
}

impl LoaderOptions {
    /// With each count at least 1, and buffers of whole pages.
    pub(super) fn sensible(&self) -> Self {
        Self {
            slot_bytes: self.slot_bytes.clamp(4096, 1 << 30).next_multiple_of(4096),
            threads: self.threads.max(1),
            slots_per_thread: self.slots_per_thread.max(1),
            streams: self.streams.max(1),
        }
    }
}

/// How one load goes. Fields may be added: `..Default::default()` gives them.
#[derive(Clone, Copy)]
pub struct LoadOptions<'p> {
    /// The type that plain float tensors get: F32, F16 or BF16. Quantized tensors stay as they are stored. Values are converted by the
    /// reading threads, so that what is copied is what is kept.
    pub dtype: Option<Dtype>,
    /// Whether blobs that are read wholly are hashed on the way. A blob that is read in part cannot be checked; the report counts
    /// both kinds.
    pub verify: bool,
    /// Whether tensors that are on the device already are shared with the weights that hold them rather than loaded again.
    pub reuse: bool,
    /// How bytes that are not in memory are read.
    pub cold: ColdReads,
    /// Whether to measure afterwards how fast the link to the device is, for [`LoadReport::link`](crate::LoadReport::link). A load that
    /// shares all of its tensors does nothing else.
    pub measure_link: bool,
    /// Told of every piece, in bytes of the device; asked before each whether to stop.
    pub progress: &'p dyn Progress,
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        Self {
            dtype: None,
            verify: false,
            reuse: true,
            cold: ColdReads::default(),
            measure_link: false,
            progress: &Silent,
        }
    }
}

impl std::fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadOptions")
            .field("dtype", &self.dtype)
            .field("verify", &self.verify)
            .field("reuse", &self.reuse)
            .field("cold", &self.cold)
            .field("measure_link", &self.measure_link)
            .finish_non_exhaustive()
    }
}
