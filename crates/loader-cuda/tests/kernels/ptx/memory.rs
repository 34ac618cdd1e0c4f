//! Emulated device memory: separate buffers with nothing between them.

use std::collections::HashSet;

/// Buffers at addresses that are far apart.
#[derive(Debug, Default)]
pub(super) struct Memory {
    buffers: Vec<Vec<u8>>,
    stored: HashSet<u64>,
}

/// Distance of addresses: buffer i lies at (i + 1) times this number.
const APART: u64 = 1 << 40;

impl Memory {
    /// Places `bytes` in memory, and returns their address.
    pub(super) fn place(&mut self, bytes: Vec<u8>) -> u64 {
        self.buffers.push(bytes);
        APART * u64::try_from(self.buffers.len()).expect("there are few")
    }

    /// Returns the bytes at an address that [`place`](Self::place) has returned.
    pub(super) fn take(mut self, address: u64) -> Vec<u8> {
        let (index, _) = split(address);
        self.buffers.swap_remove(index)
    }

    /// Loads `N` bytes, which must be aligned and inside of a buffer.
    pub(super) fn load<const N: usize>(&mut self, address: u64) -> [u8; N] {
        *self.at(address)
    }

    /// Stores `N` bytes at an address to which nothing was stored before.
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
