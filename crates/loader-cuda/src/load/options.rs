//! Options of loaders and of loads.

use longshore_manifest::{Progress, Silent};
use longshore_st_format::Dtype;

use crate::ColdReads;

/// Sizes and counts of the resources of a [`Loader`](crate::Loader).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Size of a staging buffer in bytes, which is also the largest copy. It is rounded up to a multiple of 4 KiB.
    /// Larger buffers use more cache, smaller buffers need more calls. Default 2 MiB.
    pub slot_bytes: usize,
    /// Largest number of reading threads, including the calling thread. Default 12, or the number of processors if that
    /// is less.
    pub threads: usize,
    /// Staging buffers per thread. Default 2, so that one is filled while the other is copied.
    pub slots_per_thread: usize,
    /// Number of streams over which copies are spread. Default 2.
    pub streams: usize,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { slot_bytes: 2 << 20, threads: processors.min(12), slots_per_thread: 2, streams: 2 }
    }
}

impl LoaderOptions {
    /// Returns these options with each count at least 1, and with buffers of whole pages.
    pub(super) fn sensible(&self) -> Self {
        Self {
            slot_bytes: self.slot_bytes.clamp(4096, 1 << 30).next_multiple_of(4096),
            threads: self.threads.max(1),
            slots_per_thread: self.slots_per_thread.max(1),
            streams: self.streams.max(1),
        }
    }
}

/// Options of one load.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked for by its name")]
pub struct LoadOptions<'p> {
    /// Type to convert plain float tensors to: F32, F16 or BF16. Integers, booleans and quantized tensors stay as they are
    /// stored; other types are an error. The reading threads convert the values, so the copied bytes are the final ones.
    pub dtype: Option<Dtype>,
    /// With `true`, quantized tensors are decoded on the device, to `dtype` or to the float type from which they were
    /// quantized, and are plain tensors then. Their codes are on the device until that is done.
    pub decode: bool,
    /// With `true`, blobs that are read as a whole are hashed on the way: chunk by chunk, on all threads, where the table has digests of
    /// the chunks. A blob that is read in part cannot be verified; the report counts the kinds.
    pub verify: bool,
    /// With `true`, tensors that are already on the device are shared with the weights that hold them, and not loaded
    /// again.
    pub reuse: bool,
    /// Method to read bytes that are not in the page cache.
    pub cold: ColdReads,
    /// With `true`, the speed of the link to the device is measured afterwards, for
    /// [`LoadReport::link`](crate::LoadReport::link). A load that shares all of its tensors does nothing else.
    pub measure_link: bool,
    /// Receives the progress in bytes of device memory after each piece, and can cancel the load before each piece.
    pub progress: &'p dyn Progress,
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        Self {
            dtype: None,
            decode: false,
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
            .field("decode", &self.decode)
            .field("verify", &self.verify)
            .field("reuse", &self.reuse)
            .field("cold", &self.cold)
            .field("measure_link", &self.measure_link)
            .finish_non_exhaustive()
    }
}
