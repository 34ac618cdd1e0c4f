//! Bytes of a file that the disk is asked to write while the next ones are made, so that the sync at the end is short.

use std::{fs::File, ops::Range};

/// Number of bytes after which the system is asked to start writing a stretch to the disk.
const STRETCH: u64 = 8 << 20;
/// Number of stretches that may grow in turn: codes, scales and biases of a quantized tensor.
const PLACES: usize = 3;

/// Stretches of a file that are written and not sent to the disk yet, in bytes from the start of the file.
#[derive(Debug, Default)]
pub(super) struct WriteBack {
    /// The last that grew comes last.
    stretches: Vec<Range<u64>>,
}

impl WriteBack {
    /// Notes that `length` bytes were written at `offset`, and sends the stretch that they end if it is long enough.
    pub(super) fn note(&mut self, file: &File, offset: u64, length: u64) {
        if let Some(stretch) = self.grow(offset, length) {
            start(file, &stretch);
        }
    }

    /// Returns the stretch that has become long enough.
    fn grow(&mut self, offset: u64, length: u64) -> Option<Range<u64>> {
        let mut stretch = match self.stretches.iter().position(|stretch| stretch.end == offset) {
            Some(found) => self.stretches.remove(found),
            None => offset..offset,
        };
        stretch.end = offset.saturating_add(length);
        let rest = if stretch.end - stretch.start >= STRETCH { stretch.end..stretch.end } else { stretch.clone() };
        let is_sent = rest.is_empty();
        if self.stretches.len() == PLACES {
            // What is short and has not grown for the longest is left to the sync.
            self.stretches.remove(0);
        }
        self.stretches.push(rest);
        is_sent.then_some(stretch)
    }
}

/// Asks the system to start writing a range of a file, without waiting. This only saves time: errors appear at the sync.
#[cfg(target_os = "linux")]
fn start(file: &File, range: &Range<u64>) {
    // Linux starts writing the dirty pages of the range before it drops the clean pages, and there are no clean pages yet.
    let length = std::num::NonZero::new(range.end - range.start);
    let _ = rustix::fs::fadvise(file, range.start, length, rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn start(_file: &File, _range: &Range<u64>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_take_turns_are_all_sent() {
        const MIB: u64 = 1 << 20;
        let mut back = WriteBack::default();
        let mut sent = Vec::new();
        for piece in 0..64 {
            sent.extend(back.grow(piece * MIB, MIB));
            // A scale for every 16 pieces.
            if piece % 16 == 15 {
                sent.extend(back.grow(64 * MIB + piece / 16 * MIB, MIB));
                sent.extend(back.grow(128 * MIB + piece / 16 * MIB, MIB));
            }
        }
        let codes: Vec<_> = (0..8).map(|number| number * STRETCH..(number + 1) * STRETCH).collect();
        assert_eq!(sent, codes);
    }

    #[test]
    fn each_byte_is_sent_at_most_once_and_only_few_stretches_are_kept() {
        let mut back = WriteBack::default();
        for place in 0..100 {
            assert_eq!(back.grow(place << 32, 1), None);
        }
        assert_eq!(back.stretches.len(), PLACES);
        assert_eq!(back.grow(0, STRETCH), Some(0..STRETCH));
        assert_eq!(back.grow(STRETCH, STRETCH - 1), None);
        assert_eq!(back.grow(2 * STRETCH - 1, 1), Some(STRETCH..2 * STRETCH));
    }
}
