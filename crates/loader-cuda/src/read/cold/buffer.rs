//! Block-aligned buffers for reads past the page cache.

use std::io;

use super::BLOCK;

/// Memory for one read. It starts at a multiple of [`BLOCK`] and does not move.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    memory: Vec<u8>,
    at: usize,
}

/// Buffers that are not in use. They are reused, because fresh memory can cost more than a read.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Vec<Buffer>,
}

impl Buffer {
    fn new(len: usize) -> io::Result<Self> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(len + BLOCK).map_err(|_| io::ErrorKind::OutOfMemory)?;
        memory.resize(len + BLOCK, 0);
        let at = memory.as_ptr().align_offset(BLOCK);
        Ok(Self { memory, at })
    }

    /// All bytes of the buffer. There may be more than were asked for.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.at..]
    }

    /// Address of the bytes `at .. at + len`. No byte is accessed.
    #[cfg(target_os = "linux")]
    pub(super) fn part(&mut self, at: usize, len: usize) -> *mut u8 {
        assert!(self.at + at + len <= self.memory.len(), "BUG: a part outside the buffer");
        self.memory.as_mut_ptr().wrapping_add(self.at + at)
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.at..]
    }
}

impl Buffers {
    /// Returns a buffer of at least `len` bytes. It is an error if the system gives no memory for it.
    pub(super) fn take(&mut self, len: usize) -> io::Result<Buffer> {
        let fits = self.free.iter().position(|buffer| buffer.bytes().len() >= len);
        fits.map_or_else(|| Buffer::new(len), |at| Ok(self.free.swap_remove(at)))
    }

    /// Takes a buffer back. Where there are too many, the smallest one is freed.
    pub(crate) fn give(&mut self, buffer: Buffer) {
        /// Largest number of buffers to keep: as many as are in use at once.
        const MOST: usize = 16;
        self.free.push(buffer);
        if self.free.len() > MOST
            && let Some((at, _)) = self.free.iter().enumerate().min_by_key(|(_, buffer)| buffer.memory.len())
        {
            self.free.swap_remove(at);
        }
    }
}
