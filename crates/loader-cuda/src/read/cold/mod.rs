//! Reads past the page cache: one at a time, or many at once where the system supports it.

mod buffer;
mod pread;
#[cfg(target_os = "linux")]
mod ring;
#[cfg(test)]
mod tests;

use std::{fmt, io, ops::Range, rc::Rc};

pub(super) use buffer::{Buffer, Buffers};

use super::{ColdReads, file::BlobFile};

/// Alignment of reads past the page cache, in the file and in memory. 4 KiB suffices for every disk.
const BLOCK: usize = 4096;

/// A read of a file's range into a buffer.
#[derive(Debug)]
pub(super) struct ColdRead {
    file: Rc<BlobFile>,
    /// Start of the read, in bytes from the start of the file. It is the range's start, or less than a block before it.
    start: u64,
    /// Bytes from `start` to the start of the range; fewer than a block.
    skip: usize,
    /// Bytes from `start` to the end of the range.
    wanted: usize,
    buffer: Buffer,
}

/// The bytes of a finished read.
#[derive(Debug)]
pub(super) struct Found {
    buffer: Buffer,
    range: Range<usize>,
    /// Number of its bytes that were read together with other reads.
    pub(super) ring_bytes: usize,
}

/// A queue of reads, which finish in the order in which they began.
pub(super) trait Reader: fmt::Debug {
    /// Largest number of reads that may be in progress.
    fn depth(&self) -> usize;

    /// Begins a read.
    fn begin(&mut self, read: ColdRead);

    /// Finishes the oldest read in progress and returns its bytes; there are fewer than wanted where the file ends.
    /// Returns `None` where the file system refuses such reads.
    fn finish(&mut self) -> io::Result<Option<Found>>;
}

/// Returns the fastest reader that the system supports and `reads` allows.
pub(super) fn reader(reads: ColdReads) -> Box<dyn Reader> {
    #[cfg(target_os = "linux")]
    if reads == ColdReads::DirectRing
        && let Some(ring) = ring::Ring::new()
    {
        return Box::new(ring);
    }
    let _ = reads;
    Box::new(pread::Pread::default())
}

impl ColdRead {
    /// Creates a read of `range`, which must not be empty, into one of `buffers`.
    pub(super) fn new(file: Rc<BlobFile>, range: &Range<u64>, buffers: &mut Buffers) -> io::Result<Self> {
        let start = range.start / BLOCK as u64 * BLOCK as u64;
        let wanted = usize::try_from(range.end - start).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let skip = usize::try_from(range.start - start).expect("it is less than a block");
        let buffer = buffers.take(wanted.next_multiple_of(BLOCK))?;
        Ok(Self { file, start, skip, wanted, buffer })
    }

    /// Converts a read with `done` bytes in the buffer, the first `ring_bytes` of which were read together with others.
    fn found(self, done: usize, ring_bytes: usize) -> Found {
        let end = done.min(self.wanted).max(self.skip);
        let ring_bytes = ring_bytes.clamp(self.skip, end) - self.skip;
        Found { buffer: self.buffer, range: self.skip..end, ring_bytes }
    }
}

impl Found {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer.bytes()[self.range.clone()]
    }

    /// Returns the buffer for reuse.
    pub(super) fn into_buffer(self) -> Buffer {
        self.buffer
    }
}
