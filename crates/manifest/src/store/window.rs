//! Bytes of a file, gathered so that the system is given large pieces that end at multiples of their size.
//!
//! Linux keeps a file that is written in its page cache in units as large as the writes, as far as these are aligned. A map then takes a
//! page fault for each unit, and not for each few pages.

use crate::FsError;

/// Size of a piece in bytes: a huge page, which is the most that a page fault maps.
const PIECE: usize = 2 << 20;
/// Number of places at which bytes may be gathered: codes, scales and biases of a quantized tensor arrive in turn.
const PLACES: usize = 3;

/// Writes a piece at its offset from the start of the file.
pub(super) type Write<'w> = dyn FnMut(u64, &[u8]) -> Result<(), FsError> + 'w;

/// Bytes that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// The last used comes last.
    all: Vec<Window>,
}

#[derive(Debug, Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Windows {
    /// Takes the bytes from `offset` on, and calls `write` for all pieces that are complete.
    pub(super) fn push(&mut self, offset: u64, bytes: &[u8], write: &mut Write<'_>) -> Result<(), FsError> {
        let window = self.at(offset, write)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = PIECE - to_usize(window.end() % PIECE as u64);
            let (piece, after) = rest.split_at(room.min(rest.len()));
            let is_complete = piece.len() == room;
            if window.bytes.is_empty() && is_complete || window.bytes.try_reserve(piece.len()).is_err() {
                window.flush(write)?;
                write(window.start, piece)?;
                window.start += piece.len() as u64;
            } else {
                window.bytes.extend_from_slice(piece);
                if is_complete {
                    window.flush(write)?;
                }
            }
            rest = after;
        }
        Ok(())
    }

    /// Calls `write` for all bytes that are left.
    pub(super) fn flush(&mut self, write: &mut Write<'_>) -> Result<(), FsError> {
        self.all.iter_mut().try_for_each(|window| window.flush(write))?;
        self.all.clear();
        Ok(())
    }

    /// The window that ends at `offset`, or else one that starts there.
    fn at(&mut self, offset: u64, write: &mut Write<'_>) -> Result<&mut Window, FsError> {
        let found = self.all.iter().position(|window| window.end() == offset).unwrap_or_else(|| {
            if self.all.len() < PLACES {
                self.all.insert(0, Window::default());
            }
            0
        });
        let window = &mut self.all[found];
        if window.end() != offset {
            // Bytes that cannot be written stay, so that no later call takes them for written.
            window.flush(write)?;
            window.start = offset;
        }
        self.all[found..].rotate_left(1);
        Ok(self.all.last_mut().expect("there is one"))
    }
}

impl Window {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn flush(&mut self, write: &mut Write<'_>) -> Result<(), FsError> {
        if !self.bytes.is_empty() {
            write(self.start, &self.bytes)?;
        }
        self.start = self.end();
        self.bytes.clear();
        Ok(())
    }
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).expect("it is within a piece")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives all of `parts` to windows. Returns what was written, in order.
    fn written(parts: &[(u64, Vec<u8>)]) -> Vec<(u64, Vec<u8>)> {
        let mut found = Vec::new();
        let mut windows = Windows::default();
        let mut write = |at: u64, bytes: &[u8]| {
            found.push((at, bytes.to_vec()));
            Ok(())
        };
        for (at, bytes) in parts {
            windows.push(*at, bytes, &mut write).unwrap();
        }
        windows.flush(&mut write).unwrap();
        found
    }

    #[test]
    fn pieces_end_at_multiples_of_their_size() {
        let parts: Vec<_> = std::iter::once((0, vec![1; 4096]))
            .chain((0..24).map(|at| (4096 + at * 300_000, vec![2; 300_000])))
            .collect();
        let found = written(&parts);
        let (last, others) = found.split_last().unwrap();
        assert!(others.iter().all(|(at, bytes)| (at + bytes.len() as u64).is_multiple_of(PIECE as u64)));
        assert_eq!((others.len(), last.0 + last.1.len() as u64), (3, 4096 + 24 * 300_000));
    }

    #[test]
    fn streams_that_take_turns_are_gathered_each() {
        let mut parts = Vec::new();
        for at in 0..64 {
            parts.push((at * PIECE as u64 / 16, vec![1; PIECE / 16]));
            parts.push((8 * PIECE as u64 + at * 4096, vec![2; 4096]));
            parts.push((16 * PIECE as u64 + at * 4096, vec![3; 4096]));
        }
        // Four pieces of the first, and one of each of the others.
        assert_eq!(written(&parts).len(), 6);
    }

    #[test]
    fn an_error_is_that_of_the_write() {
        let fail = || FsError::at("write to", std::path::Path::new("file"))(std::io::ErrorKind::StorageFull.into());
        let mut windows = Windows::default();
        windows.push(0, &[1], &mut |_, _| Err(fail())).expect("it is only gathered");
        assert!(windows.flush(&mut |_, _| Err(fail())).is_err());
        // The byte is still there.
        let mut all = Vec::new();
        let mut write = |at: u64, bytes: &[u8]| {
            all.push((at, bytes.to_vec()));
            Ok(())
        };
        windows.flush(&mut write).unwrap();
        assert_eq!(all, [(0, vec![1])]);
        assert!(Windows::default().push(0, &vec![0; PIECE], &mut |_, _| Err(fail())).is_err());
    }

    proptest! {
        #[test]
        fn every_byte_is_written_once(
            lengths in prop::collection::vec(1_usize..400_000, 1..30),
            order in any::<prop::sample::Index>(),
            stride in 1_usize..7,
        ) {
            let mut parts = Vec::new();
            let mut at = 0_u64;
            for (number, len) in lengths.iter().enumerate() {
                parts.push((at, vec![u8::try_from(number).unwrap(); *len]));
                at += *len as u64;
            }
            let mut mixed: Vec<_> = (0..stride).flat_map(|from| parts.iter().skip(from).step_by(stride).cloned()).collect();
            let middle = order.index(mixed.len());
            mixed.rotate_left(middle);
            let mut file = vec![u8::MAX; usize::try_from(at).unwrap()];
            for (at, bytes) in written(&mixed) {
                let place = &mut file[usize::try_from(at).unwrap()..][..bytes.len()];
                prop_assert!(place.iter().all(|byte| *byte == u8::MAX));
                place.copy_from_slice(&bytes);
            }
            prop_assert!(file == parts.into_iter().flat_map(|(_, bytes)| bytes).collect::<Vec<_>>());
        }
    }
}
