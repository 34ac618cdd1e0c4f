//! Hashing of loaded weights.

use std::{
    cmp::Reverse,
    io,
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{BlobBytes, Weights, made::populate};
use crate::{Digest, Hasher, Progress, parallel};

/// Number of bytes that are hashed between two checks for cancellation.
const CHUNK: usize = 256 << 10;
/// Largest range that several parts are asked for in, in bytes.
const RANGE: u64 = 64 << 20;
/// Largest number of tensors that an error names.
const NAMED: usize = 4;

/// Loaded weights that differ from the stored ones.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorruptError {
    /// The bytes of a blob have another digest than the blob.
    #[error("the blob {digest} of {} is corrupt: its bytes have the digest {found}{}", list(tensors), more(*others))]
    Blob {
        /// Digest by which the blob is named.
        digest: Digest,
        /// Digest of the blob's bytes.
        found: Digest,
        /// Names of the loaded tensors in the blob.
        tensors: Vec<String>,
        /// Number of other corrupt blobs.
        others: usize,
    },
    /// The pages of a mapped blob cannot be read.
    #[error("cannot read the blob {digest} of {}", list(tensors))]
    Read {
        /// Digest by which the blob is named.
        digest: Digest,
        /// Names of the loaded tensors in the blob.
        tensors: Vec<String>,
        /// Error of the system, or its meaning.
        source: io::Error,
    },
    /// The tensors lie in plain files, for which no digest tells what they should be.
    #[error("{name} is not stored: there is no digest to verify its files with")]
    NotStored {
        /// Name of the source.
        name: String,
    },
    /// The progress receiver cancelled the operation.
    #[error("stopped before everything was verified")]
    Cancelled,
}

fn list(tensors: &[String]) -> String {
    let named: Vec<_> = tensors.iter().take(NAMED).map(|name| format!("{name:?}")).collect();
    match tensors.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more tensors", named.join(", ")),
    }
}

fn more(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => "; one other is corrupt too".into(),
        others => format!("; {others} others are corrupt too"),
    }
}

impl Weights {
    /// Hashes every mapped blob as a whole, including the blobs of companions, on all threads of the rayon pool and the
    /// largest first. The hashed bytes are those that the tensors use, not a second reading of the files, and are in
    /// memory afterwards.
    ///
    /// # Errors
    ///
    /// [`CorruptError::Blob`] for the first blob with another digest, [`CorruptError::Read`] for one that cannot be read,
    /// [`CorruptError::NotStored`] for plain files, [`CorruptError::Cancelled`].
    pub fn verify(&self, progress: &dyn Progress) -> Result<(), CorruptError> {
        if !self.source.is_stored() {
            return Err(CorruptError::NotStored { name: self.source.name().to_owned() });
        }
        let blobs = &self.blobs;
        progress.begin("verifying", blobs.iter().map(|(_, blob)| blob.len() as u64).sum());
        let mut order: Vec<usize> = (0..blobs.len()).collect();
        order.sort_by_key(|&at| Reverse(blobs[at].1.len()));
        let next = AtomicUsize::new(0);
        let work = || {
            let mut corrupt = Vec::new();
            while let Some(&at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (digest, blob) = &blobs[at];
                let digest = *digest;
                let found = hash(blob, progress).map_err(|stop| match stop {
                    Stop::Cancelled => CorruptError::Cancelled,
                    Stop::Read(source) => CorruptError::Read { digest, tensors: self.tensors_of(digest), source },
                })?;
                if found != digest {
                    corrupt.push((at, found));
                }
            }
            Ok(corrupt)
        };
        let corrupt: Result<Vec<_>, CorruptError> = parallel::on_all_threads(work).into_iter().collect();
        let corrupt: Vec<_> = corrupt?.into_iter().flatten().collect();
        let Some(&(at, found)) = corrupt.iter().min_by_key(|(at, _)| *at) else { return Ok(()) };
        let digest = blobs[at].0;
        let tensors = self.tensors_of(digest);
        Err(CorruptError::Blob { digest, found, tensors, others: corrupt.len() - 1 })
    }

    /// Asks for the pages of the selected bytes of all blobs, on all threads of the rayon pool, and returns when they are in memory; at
    /// once where the system has no call for that.
    ///
    /// # Errors
    ///
    /// [`CorruptError::Read`] for a blob that is shorter than it was, or that the disk does not read.
    pub fn populate(&self) -> Result<(), CorruptError> {
        let ranges = self.ranges();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some((digest, range)) = ranges.get(next.fetch_add(1, Ordering::Relaxed)) {
                let Some((_, blob)) = self.blobs.iter().find(|(found, _)| found == digest) else { continue };
                populate(blob, range.start, range.end).map_err(|source| CorruptError::Read {
                    digest: *digest,
                    tensors: self.tensors_of(*digest),
                    source,
                })?;
            }
            Ok(())
        };
        parallel::on_all_threads(work).into_iter().collect()
    }

    /// Returns the ranges of the blobs that the selected bytes lie in. Ranges that touch are one, of at most [`RANGE`] bytes.
    fn ranges(&self) -> Vec<(Digest, Range<u64>)> {
        let parts = self.tensors.iter().flat_map(|(view, _)| &view.parts);
        let mut ranges: Vec<_> = parts
            .flat_map(|part| part.origin.extents.iter().map(|extent| (part.origin.digest, extent.offset..extent.end())))
            .collect();
        ranges.sort_unstable_by_key(|(digest, range)| (*digest, range.start));
        ranges.dedup_by(|(digest, next), (before, range)| {
            let joins = digest == before && next.start <= range.end && next.end - range.start <= RANGE;
            if joins {
                range.end = range.end.max(next.end);
            }
            joins
        });
        ranges
    }

    /// The tensors that have a part in the blob `digest`.
    fn tensors_of(&self, digest: Digest) -> Vec<String> {
        let of_blob = self.tensors.iter().map(|(view, _)| view);
        let of_blob = of_blob.filter(|view| view.parts.iter().any(|part| part.origin.digest == digest));
        of_blob.map(|view| view.name.clone()).collect()
    }
}

/// Why a blob was not hashed.
enum Stop {
    Cancelled,
    Read(io::Error),
}

fn hash(blob: &BlobBytes, progress: &dyn Progress) -> Result<Digest, Stop> {
    let mut hasher = Hasher::default();
    for (chunk, offset) in blob.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        if progress.cancelled() {
            return Err(Stop::Cancelled);
        }
        blob.populate(offset, chunk.len()).map_err(Stop::Read)?;
        hasher.update(chunk);
        progress.advance(chunk.len() as u64);
    }
    Ok(hasher.finish())
}
