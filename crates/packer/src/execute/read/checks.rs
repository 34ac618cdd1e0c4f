//! Hashing the files of a source in the pass that reads them.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use longshore_manifest::{Digest, Hasher};

use crate::{
    io::data::OpenData,
    plan::planned::{Plan, PlannedBlob},
    tensor::Shard,
};

/// Number of bytes that are read at a time only to be hashed.
const CHUNK: u64 = 256 << 10;
/// Longest stretch before a tensor, such as a header or padding, that is read and hashed when the tensor's first byte
/// is read.
const GAP: u64 = 64 << 10;

/// The checks of a source's shards against the digests that the source promises. `None` for a shard without a digest.
pub(super) struct Checks(Vec<Option<Check>>);

/// The hash of one shard, as far as it has been read.
pub(super) struct Check {
    pub(super) expected: Digest,
    len: u64,
    /// Number of blobs of the plan that are still to be made of the shard.
    blobs: AtomicUsize,
    hashed: Mutex<Hashed>,
}

#[derive(Default)]
struct Hashed {
    hasher: Hasher,
    /// Number of bytes hashed, from the start of the shard.
    len: u64,
}

impl Checks {
    pub(super) fn new(plan: &Plan) -> Self {
        let source = plan.source();
        let check = |shard: &Shard| {
            let (expected, len) = (shard.digest?, shard.file_len);
            Some(Check { expected, len, blobs: AtomicUsize::new(0), hashed: Mutex::default() })
        };
        let checks = Self(source.shards.iter().map(check).collect());
        if checks.0.iter().any(Option::is_some) {
            for blob in &plan.blobs {
                for (_, check) in checks.of(plan, blob) {
                    check.blobs.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        checks
    }

    pub(super) fn get(&self, shard: usize) -> Option<&Check> {
        self.0.get(shard)?.as_ref()
    }

    /// The checks of the shards that `blob` is made of, each once, with the index of the shard.
    pub(super) fn of(&self, plan: &Plan, blob: &PlannedBlob) -> Vec<(usize, &Check)> {
        let units = blob.tensors.iter().flat_map(|tensor| tensor.units.iter().flat_map(|unit| unit.parts.iter()));
        let merges = blob.tensors.iter().flat_map(|tensor| &tensor.merges);
        let factors = merges.flat_map(|merge| [merge.left.tensor, merge.right.tensor]);
        let sources = units.map(|(_, at)| at).chain(factors);
        let shards: BTreeSet<usize> = sources.map(|at| plan.source().tensors[at].shard).collect();
        shards.into_iter().filter_map(|shard| Some((shard, self.get(shard)?))).collect()
    }
}

impl Check {
    /// Hashes bytes that were read at `offset`, as far as they follow those hashed before. Bytes that were read out of
    /// order are left for [`Self::rest`]. With `is_start`, a short stretch before the bytes is read and hashed first.
    pub(super) fn add(&self, file: &dyn OpenData, offset: u64, bytes: &[u8], is_start: bool) -> io::Result<()> {
        let mut hashed = self.hashed.lock().unwrap_or_else(PoisonError::into_inner);
        if is_start && hashed.len < offset && offset - hashed.len <= GAP {
            hashed.read(file, offset, &|| false)?;
        }
        if let Some(known) = hashed.len.checked_sub(offset).and_then(|known| usize::try_from(known).ok())
            && known < bytes.len()
        {
            hashed.add(&bytes[known..]);
        }
        Ok(())
    }

    /// Notes that one of the blobs that are made of the shard is complete. Returns whether it was the last one.
    pub(super) fn completed(&self) -> bool {
        self.blobs.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Whether several blobs are still to be made of the shard.
    pub(super) fn is_shared(&self) -> bool {
        self.blobs.load(Ordering::Relaxed) > 1
    }

    /// Reads and hashes what no read brought in order, and returns the digest of the whole shard. `None` if `stop`
    /// returned true before the end.
    pub(super) fn rest(&self, file: &dyn OpenData, stop: &dyn Fn() -> bool) -> io::Result<Option<Digest>> {
        let mut hashed = self.hashed.lock().unwrap_or_else(PoisonError::into_inner);
        hashed.read(file, self.len, stop)?;
        Ok((hashed.len == self.len).then(|| hashed.hasher.clone().finish()))
    }
}

impl Hashed {
    fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
    }

    /// Reads and hashes up to byte `end`, or less if `stop` returns true.
    fn read(&mut self, file: &dyn OpenData, end: u64, stop: &dyn Fn() -> bool) -> io::Result<()> {
        let mut buffer = Vec::new();
        while self.len < end && !stop() {
            buffer.resize(usize::try_from(CHUNK.min(end - self.len)).expect("a chunk is small"), 0);
            file.read_exact_at(&mut buffer, self.len)?;
            self.add(&buffer);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Counts the bytes that are read from it.
    struct Counted(Arc<[u8]>, AtomicUsize);

    impl OpenData for Counted {
        fn byte_len(&self) -> io::Result<u64> {
            self.0.byte_len()
        }

        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.1.fetch_add(buffer.len(), Ordering::Relaxed);
            self.0.read_exact_at(buffer, offset)
        }
    }

    /// The digest after reads of these ranges, and the number of bytes that were read only to be hashed.
    fn read(bytes: &[u8], ranges: &[(usize, usize)]) -> (Digest, usize) {
        let file = Counted(bytes.into(), AtomicUsize::new(0));
        let check = Check {
            expected: Digest::of(bytes),
            len: bytes.len() as u64,
            blobs: AtomicUsize::new(1),
            hashed: Mutex::default(),
        };
        for &(from, to) in ranges {
            check.add(&file, from as u64, &bytes[from..to], true).expect("it is in memory");
        }
        let found = check.rest(&file, &|| false).expect("it is in memory").expect("nothing stops it");
        assert_eq!(found, check.expected, "{ranges:?}");
        (found, file.1.into_inner())
    }

    #[test]
    fn every_byte_is_hashed_once_in_any_order_of_reads() {
        let bytes: Vec<u8> = (0..600_000_u32).map(|at| (at % 251).to_le_bytes()[0]).collect();
        let all = bytes.len();
        for (ranges, again) in [
            (&[(0, all)][..], 0),
            (&[], all),
            (&[(100, 300_000), (300_000, all)], 100),
            (&[(100, 300_000), (100, 300_000), (200_000, all)], 100),
            (&[(300_000, all), (0, 300_000)], all - 300_000),
            // Bytes 10 to 20 lie before the start of a read and are read with it.
            (&[(0, 0), (0, 10), (20, 30), (5, 25)], all - 20),
        ] {
            let (_, found) = read(&bytes, ranges);
            assert_eq!(found, again, "{ranges:?}");
        }
    }

    #[test]
    fn a_stopped_check_has_no_digest() {
        let bytes: Arc<[u8]> = vec![0; 10].into();
        let check = Check { expected: Digest::of(b""), len: 10, blobs: AtomicUsize::new(1), hashed: Mutex::default() };
        assert_eq!(check.rest(&bytes, &|| true).expect("it is in memory"), None);
    }
}
