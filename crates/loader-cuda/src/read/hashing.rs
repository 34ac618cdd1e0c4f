//! Hashing of a blob on its way: as a whole, or a run of its chunks, whose digests the table has.

use std::ops::Range;

use longshore_manifest::{Digest, Hasher, document::Chunks};

/// The part of a blob that one task hashes.
#[derive(Debug, Clone)]
pub(crate) struct Hashed {
    pub(crate) blob: usize,
    /// First byte: that of a chunk, or of the blob.
    pub(crate) start: u64,
    /// End, where another task goes on. `None` for the end of the blob.
    pub(crate) end: Option<u64>,
}

/// Hashing state of one task.
#[derive(Debug)]
pub(super) struct Hashing<'p> {
    pub(super) part: Hashed,
    /// Digests of the blob's chunks; without, it is hashed as a whole.
    chunks: Option<&'p Chunks>,
    hasher: Hasher,
    /// Everything before this offset is read, or will be read by fetches in progress.
    pub(super) begun: u64,
    /// Everything before this offset is hashed, or another task's.
    pub(super) done: u64,
}

/// A chunk with another digest than in the table, in bytes from the start of the blob.
#[derive(Debug)]
pub(super) struct WrongChunk(pub(super) Range<u64>);

impl<'p> Hashing<'p> {
    pub(super) fn new(part: Hashed, chunks: Option<&'p Chunks>) -> Self {
        let start = part.start;
        Self { part, chunks, hasher: Hasher::default(), begun: start, done: start }
    }

    /// Adds the bytes from `start` on, of which some may be hashed already. Nothing is missing between these and those.
    pub(super) fn add(&mut self, start: u64, bytes: &[u8]) -> Result<(), WrongChunk> {
        let skip = usize::try_from(self.done.saturating_sub(start)).unwrap_or(usize::MAX).min(bytes.len());
        let wanted = self.part.end.map_or(u64::MAX, |end| end.saturating_sub(self.done));
        let mut bytes = &bytes[skip..];
        bytes = &bytes[..usize::try_from(wanted).unwrap_or(usize::MAX).min(bytes.len())];
        if self.chunks.is_none() {
            self.hasher.update(bytes);
            self.done += bytes.len() as u64;
            return Ok(());
        }
        while !bytes.is_empty() {
            let left = Chunks::SIZE - self.done % Chunks::SIZE;
            let (now, rest) = bytes.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
            self.hasher.update(now);
            self.done += now.len() as u64;
            bytes = rest;
            if self.done.is_multiple_of(Chunks::SIZE) {
                self.close()?;
            }
        }
        Ok(())
    }

    /// Compares the last chunk, where the blob ends inside of it. Returns the digest of the whole blob if it was hashed as such.
    pub(super) fn finish(mut self) -> Result<Option<Digest>, WrongChunk> {
        if self.chunks.is_none() {
            return Ok(Some(self.hasher.finish()));
        }
        if self.done.is_multiple_of(Chunks::SIZE) { Ok(None) } else { self.close().map(|()| None) }
    }

    /// Compares the chunk that ends at `done`.
    fn close(&mut self) -> Result<(), WrongChunk> {
        let found = std::mem::take(&mut self.hasher).finish();
        let at = (self.done - 1) / Chunks::SIZE;
        let expected = self.chunks.and_then(|list| list.digests.get(usize::try_from(at).ok()?));
        if expected == Some(&found) { Ok(()) } else { Err(WrongChunk(at * Chunks::SIZE..self.done)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_that_follow_each_other_hash_every_chunk_once() {
        let size = 2 * Chunks::SIZE + 1000;
        let bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).expect("it is below 251")).collect();
        let step = usize::try_from(Chunks::SIZE).expect("it is small");
        let list = Chunks::new(bytes.chunks(step).map(Digest::of).collect());
        let hash = |list: Option<&Chunks>, start: u64, end: Option<u64>, from: usize, cut: usize| {
            let mut hashing = Hashing::new(Hashed { blob: 0, start, end }, list);
            for at in (from..bytes.len()).step_by(cut) {
                hashing.add(at as u64, &bytes[at..bytes.len().min(at + cut)])?;
            }
            hashing.finish()
        };
        assert_eq!(hash(None, 0, None, 0, 700_001).expect("nothing is compared"), Some(Digest::of(&bytes)));
        for cut in [700_001, step, 3 * step] {
            assert_eq!(hash(Some(&list), 0, None, 0, cut).expect("all are right"), None);
            assert_eq!(hash(Some(&list), 0, Some(Chunks::SIZE), 0, cut).expect("the first is right"), None);
            // Bytes before its first chunk are another task's.
            assert_eq!(hash(Some(&list), Chunks::SIZE, None, 5000, cut).expect("the others are right"), None);
        }
        let mut wrong = list.clone();
        wrong.digests[1] = Digest::of(b"");
        assert_eq!(hash(Some(&wrong), 0, Some(Chunks::SIZE), 0, step).expect("it is another's"), None);
        let WrongChunk(range) = hash(Some(&wrong), 0, None, 0, 700_001).expect_err("the second is wrong");
        assert_eq!(range, Chunks::SIZE..2 * Chunks::SIZE);
        wrong.digests[1] = list.digests[1];
        wrong.digests[2] = Digest::of(b"");
        let WrongChunk(range) = hash(Some(&wrong), Chunks::SIZE, None, step, 700_001).expect_err("the last is wrong");
        assert_eq!(range, 2 * Chunks::SIZE..size);
    }
}
