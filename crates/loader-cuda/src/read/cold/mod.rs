//! Reads past the page cache: one at a time, or many at once where the system can.

mod buffer;
mod pread;
#[cfg(target_os = "linux")]
mod ring;
#[cfg(test)]
mod tests;

use std::{fmt, io, ops::Range, rc::Rc};

pub(super) use buffer::{Buffer, Buffers};

use super::{ColdReads, file::BlobFile};

/// What reads past the page cache begin and end at multiples of, in the file and in memory; 4 KiB does for every disk.
const BLOCK: usize = 4096;

/// A range of a file, and where it goes.
#[derive(Debug)]
pub(super) struct ColdRead {
    file: Rc<BlobFile>,
    /// Where reading starts, in bytes from the start of the file: the range's start, or less than a block before it.
    start: u64,
    /// The bytes from there to the start of the range, fewer than a block.
    skip: usize,
    /// The bytes from there to the end of the range.
    wanted: usize,
    buffer: Buffer,
}

/// A range that was read.
#[derive(Debug)]
pub(super) struct Found {
    buffer: Buffer,
    range: Range<usize>,
    /// How many of its bytes were read together with others.
    pub(super) ring_bytes: usize,
}

/// Reads what was begun first first.
pub(super) trait Reader: fmt::Debug {
    /// How many reads may be begun before the first of them is finished.
    fn depth(&self) -> usize;

    /// Begins a read.
    fn begin(&mut self, read: ColdRead);

    /// Finishes the read that was begun first of those that are left: its bytes, fewer than wanted where the file ends. `None` where the
    /// file system refuses such reads.
    fn finish(&mut self) -> io::Result<Option<Found>>;
}

/// The best reader that there is and that `reads` allows.
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
    /// A read of `range`, which is not empty, into one of `buffers`.
    pub(super) fn new(file: Rc<BlobFile>, range: &Range<u64>, buffers: &mut Buffers) -> io::Result<Self> {
        let start = range.start / BLOCK as u64 * BLOCK as u64;
        let wanted = usize::try_from(range.end - start).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let skip = usize::try_from(range.start - start).expect("it is less than a block");
        let buffer = buffers.take(wanted.next_multiple_of(BLOCK));
        Ok(Self { file, start, skip, wanted, buffer })
    }

    /// `done` bytes are there, the first `ring_bytes` of them read together with others.
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

    /// The buffer, to be used again.
    pub(super) fn into_buffer(self) -> Buffer {
        self.buffer
    }
}
