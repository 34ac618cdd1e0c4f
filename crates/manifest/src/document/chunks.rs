//! Digests of a blob's chunks, so that damage has a place, and one large blob is checked by many threads.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{Digest, Hasher};

/// Digests of the chunks of a blob. Each chunk but the last has [`Chunks::SIZE`] bytes.
///
/// ```
/// use longshore_manifest::document::{ChunkHasher, Chunks};
///
/// let mut hasher = ChunkHasher::default();
/// hasher.update(&vec![7; 40 << 20]);
/// let (digest, chunks) = hasher.finish();
/// let chunks = chunks.ok_or("it has more than one chunk")?;
/// assert_eq!(chunks.digests.len(), 3);
/// assert_eq!(chunks.digests[0], chunks.digests[1]);
/// assert_eq!(Chunks::range(2, 40 << 20), 32 << 20..40 << 20);
/// # Ok::<(), &'static str>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunks {
    /// Bytes of each chunk but the last: [`Chunks::SIZE`].
    pub size: u64,
    /// Digests of the chunks, in order.
    pub digests: Vec<Digest>,
}

impl Chunks {
    /// Bytes of each chunk but the last: 16 MiB. A blob of more bytes has digests of its chunks.
    pub const SIZE: u64 = 16 << 20;

    /// Makes the list of these digests.
    #[must_use]
    pub fn new(digests: Vec<Digest>) -> Self {
        Self { size: Self::SIZE, digests }
    }

    /// Number of chunks of a blob of `size` bytes: none for a blob of up to [`Self::SIZE`] bytes.
    #[must_use]
    pub fn count(size: u64) -> u64 {
        if size > Self::SIZE { size.div_ceil(Self::SIZE) } else { 0 }
    }

    /// The bytes that chunk `at` has in a blob of `size` bytes.
    #[must_use]
    pub fn range(at: u64, size: u64) -> Range<u64> {
        let start = at.saturating_mul(Self::SIZE).min(size);
        start..start.saturating_add(Self::SIZE).min(size)
    }

    /// Whether there are as many digests as a blob of `size` bytes has chunks.
    #[must_use]
    pub fn fits(&self, size: u64) -> bool {
        self.size == Self::SIZE && Self::count(size) == self.digests.len() as u64 && !self.digests.is_empty()
    }

    /// The ranges of a blob of `size` bytes whose digests are not those in `found`. Neighbours are one range.
    #[must_use]
    pub fn differences(&self, found: &Self, size: u64) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for at in 0..Self::count(size) {
            let of = |chunks: &Self| usize::try_from(at).ok().and_then(|at| chunks.digests.get(at).copied());
            if of(self).is_some() && of(self) == of(found) {
                continue;
            }
            let range = Self::range(at, size);
            match ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        ranges
    }

    /// Says what is wrong with the list, for a blob whose parts end at `end`.
    pub(super) fn check(&self, end: u64) -> Result<(), String> {
        let Self { size, digests } = self;
        if *size != Self::SIZE {
            return Err(format!("its chunks have {size} bytes, expected {}", Self::SIZE));
        }
        let (count, expected) = (digests.len() as u64, Self::count(end).max(2));
        if count < expected {
            return Err(format!("it has digests of {count} chunks, expected {expected} or more for {end} bytes"));
        }
        Ok(())
    }
}

/// Hasher of a blob as a whole and, where it is longer than one chunk, of each of its chunks, in one pass.
#[derive(Debug, Clone, Default)]
pub struct ChunkHasher {
    whole: Hasher,
    chunk: Hasher,
    len: u64,
    digests: Vec<Digest>,
}

impl ChunkHasher {
    /// Adds the next bytes of the blob.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = Chunks::SIZE - self.len % Chunks::SIZE;
            let (now, later) = bytes.split_at(usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()));
            self.whole.update(now);
            // The first chunk is the beginning of the whole.
            if self.len >= Chunks::SIZE {
                self.chunk.update(now);
            }
            self.len += now.len() as u64;
            if self.len == Chunks::SIZE {
                self.digests.push(self.whole.clone().finish());
            } else if self.len.is_multiple_of(Chunks::SIZE) {
                self.digests.push(std::mem::take(&mut self.chunk).finish());
            }
            bytes = later;
        }
    }

    /// Returns the digest of all bytes that were added, and those of their chunks if they are more than one chunk.
    #[must_use]
    pub fn finish(mut self) -> (Digest, Option<Chunks>) {
        if self.len > Chunks::SIZE && !self.len.is_multiple_of(Chunks::SIZE) {
            self.digests.push(self.chunk.finish());
        }
        let chunks = (self.len > Chunks::SIZE).then(|| Chunks::new(self.digests));
        (self.whole.finish(), chunks)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: usize = 16 << 20;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| u8::try_from(at * 31 % 251).expect("it is less than 251")).collect()
    }

    #[test]
    fn the_digests_are_those_of_the_whole_and_of_each_chunk() {
        for len in [0, 1, SIZE - 1, SIZE, SIZE + 1, 2 * SIZE, 2 * SIZE + 5] {
            let bytes = bytes(len);
            let mut hasher = ChunkHasher::default();
            bytes.chunks(1_000_003).for_each(|piece| hasher.update(piece));
            let (digest, chunks) = hasher.finish();
            assert_eq!(digest, Digest::of(&bytes), "{len}");
            let expected = (len > SIZE).then(|| Chunks::new(bytes.chunks(SIZE).map(Digest::of).collect()));
            assert_eq!(chunks, expected, "{len}");
            assert!(chunks.is_none_or(|chunks| chunks.fits(len as u64)), "{len}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn differences_are_the_chunks_that_differ(size in 1_u64..20 * Chunks::SIZE, damaged in any::<u32>()) {
            let whole = |damaged: u32| {
                let digest = |at| Digest::of(&[u8::from(damaged >> (at % 32) & 1 == 1), u8::try_from(at).expect("few")]);
                Chunks::new((0..Chunks::count(size)).map(digest).collect())
            };
            let found = whole(0).differences(&whole(damaged), size);
            for at in 0..Chunks::count(size) {
                let range = Chunks::range(at, size);
                let is_in = found.iter().any(|found| found.start <= range.start && range.end <= found.end);
                prop_assert_eq!(is_in, damaged >> (at % 32) & 1 == 1);
            }
            prop_assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert!(found.last().is_none_or(|last| last.end <= size));
        }

        #[test]
        fn a_list_fits_only_the_right_size(size in any::<u64>(), count in 0_usize..40) {
            let chunks = Chunks::new(vec![Digest::of(b""); count]);
            let fits = size > Chunks::SIZE && size.div_ceil(Chunks::SIZE) == count as u64;
            prop_assert_eq!(chunks.fits(size), fits);
            let other = Chunks { size: 1, ..chunks };
            prop_assert!(!other.fits(size));
        }
    }
}
