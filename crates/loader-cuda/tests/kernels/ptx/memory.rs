//! Device memory: buffers with nothing between them.

use std::collections::HashSet;

/// Buffers at addresses of their own, far apart.
#[derive(Debug, Default)]
pub(super) struct Memory {
    buffers: Vec<Vec<u8>>,
    stored: HashSet<u64>,
}

/// Buffer i lies at (i + 1) times this.
const APART: u64 = 1 << 40;

impl Memory {
    /// The address at which `bytes` lie from now on.
    pub(super) fn place(&mut self, bytes: Vec<u8>) -> u64 {
        self.buffers.push(bytes);
        APART * u64::try_from(self.buffers.len()).expect("there are few")
    }

    /// What lies at an address that [`place`](Self::place) gave.
    pub(super) fn take(mut self, address: u64) -> Vec<u8> {
        let (index, _) = split(address);
        self.buffers.swap_remove(index)
    }

    /// `N` bytes, which have to be aligned and inside of a buffer.
    pub(super) fn load<const N: usize>(&mut self, address: u64) -> [u8; N] {
        *self.at(address)
    }

    /// Stores so many bytes, where none were stored before.
    pub(super) fn store<const N: usize>(&mut self, address: u64, bytes: [u8; N]) {
        assert!(self.stored.insert(address), "{address:#x} is stored twice");
        *self.at(address) = bytes;
    }

    fn at<const N: usize>(&mut self, address: u64) -> &mut [u8; N] {
        let (index, offset) = split(address);
        assert!(offset.is_multiple_of(N), "{N} bytes at {address:#x}, which is not aligned");
        let buffer = self.buffers.get_mut(index).unwrap_or_else(|| panic!("nothing lies at {address:#x}"));
        let len = buffer.len();
        let found = buffer.get_mut(offset..offset + N);
        found.and_then(|bytes| bytes.try_into().ok()).unwrap_or_else(|| panic!("byte {offset} and on of {len}"))
    }
}

fn split(address: u64) -> (usize, usize) {
    let index = (address / APART).checked_sub(1).unwrap_or_else(|| panic!("nothing lies at {address:#x}"));
    (usize::try_from(index).expect("it is small"), usize::try_from(address % APART).expect("64 bits are"))
}
