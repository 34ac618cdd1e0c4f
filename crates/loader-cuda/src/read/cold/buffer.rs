//! Memory that starts and ends at blocks.

use super::BLOCK;

/// Memory for one read, which starts at a multiple of [`BLOCK`] and does not move.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    memory: Vec<u8>,
    at: usize,
}

/// Buffers that are not in use. Fresh memory costs more than many a read, so that they are used again.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Vec<Buffer>,
}

impl Buffer {
    fn new(len: usize) -> Self {
        let memory = vec![0; len + BLOCK];
        let at = memory.as_ptr().align_offset(BLOCK);
        Self { memory, at }
    }

    /// All of it; as long as was asked for, or longer.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.at..]
    }

    /// The address of the bytes `at .. at + len`, without a look at any byte.
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
    /// A buffer of at least `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Buffer {
        let fits = self.free.iter().position(|buffer| buffer.bytes().len() >= len);
        fits.map_or_else(|| Buffer::new(len), |at| self.free.swap_remove(at))
    }

    /// Takes a buffer back; the smallest is let go where there are many.
    pub(crate) fn give(&mut self, buffer: Buffer) {
        /// As many as are in use at once.
        const MOST: usize = 16;
        self.free.push(buffer);
        if self.free.len() > MOST
            && let Some((at, _)) = self.free.iter().enumerate().min_by_key(|(_, buffer)| buffer.memory.len())
        {
            self.free.swap_remove(at);
        }
    }
}
