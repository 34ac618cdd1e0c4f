//! Hashing of loaded weights.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    io,
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{BlobBytes, Weights, made::populate};
use crate::{Digest, Hasher, Progress, document::Chunks, parallel};

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
    #[error("the blob {digest} of {} is corrupt{}: its bytes have the digest {found}{}", list(tensors), place(bytes.as_ref()), more(*others))]
    Blob {
        /// Digest by which the blob is named.
        digest: Digest,
        /// Digest of the blob's bytes.
        found: Digest,
        /// The first chunk with another digest than in the table, in bytes from the start of the blob. `None` if the table has none.
        bytes: Option<Range<u64>>,
        /// Names of the loaded tensors in the blob.
        tensors: Vec<String>,
        /// Number of other corrupt blobs.
        others: usize,
    },
    /// The digest of a chunk in the table is not that of the bytes, and the blob is good.
    #[error("the tensor table has another digest for bytes {} to {} of the blob {digest} of {}, which is good", bytes.start, bytes.end.saturating_sub(1), list(tensors))]
    Table {
        /// Digest by which the blob is named.
        digest: Digest,
        /// The first chunk with another digest, in bytes from the start of the blob.
        bytes: Range<u64>,
        /// Names of the loaded tensors in the blob.
        tensors: Vec<String>,
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

fn place(bytes: Option<&Range<u64>>) -> String {
    bytes.map_or_else(String::new, |bytes| format!(" from byte {} to {}", bytes.start, bytes.end.saturating_sub(1)))
}

fn more(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => "; one other is corrupt too".into(),
        others => format!("; {others} others are corrupt too"),
    }
}

/// Outcome of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Number of blobs.
    pub blobs: usize,
    /// Number of those whose chunks were hashed, and not the whole.
    pub by_chunks: usize,
}

impl Weights {
    /// Hashes every mapped blob, including the blobs of companions, on all threads of the rayon pool. A blob whose chunks have digests in the
    /// table is hashed chunk by chunk, and as a whole only if one of them differs; every other one as a whole. The hashed bytes are those that
    /// the tensors use, not a second reading of the files, and are in memory afterwards.
    ///
    /// # Errors
    ///
    /// [`CorruptError::Blob`] for the first blob with another digest, [`CorruptError::Table`], if there is none, for a good one whose chunks
    /// have other digests than in the table, [`CorruptError::Read`] for one that cannot be read, [`CorruptError::NotStored`] for plain files,
    /// [`CorruptError::Cancelled`].
    pub fn verify(&self, progress: &dyn Progress) -> Result<Verified, CorruptError> {
        if !self.source.is_stored() {
            return Err(CorruptError::NotStored { name: self.source.name().to_owned() });
        }
        progress.begin("verifying", self.blobs.iter().map(|(_, blob)| blob.len() as u64).sum());
        let pieces = self.pieces();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut different = Vec::new();
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                let bytes = piece.start..piece.end;
                if self.hash(piece.at, bytes, progress)? != piece.digest {
                    different.push(piece);
                }
            }
            Ok(different)
        };
        let different: Result<Vec<_>, CorruptError> = parallel::on_all_threads(work).into_iter().collect();
        let mut different: Vec<_> = different?.into_iter().flatten().collect();
        different.sort_unstable_by_key(|piece| (piece.at, piece.start));
        if different.is_empty() {
            let chunked: HashSet<usize> = pieces.iter().filter(|piece| piece.is_chunk).map(|piece| piece.at).collect();
            return Ok(Verified { blobs: self.blobs.len(), by_chunks: chunked.len() });
        }
        // A table that is wrong about one blob may stand before a blob that is damaged.
        let (mut corrupt, mut wrong) = (Vec::new(), None);
        for pieces in different.chunk_by(|a, b| a.at == b.at) {
            let first = pieces[0];
            let (digest, blob) = &self.blobs[first.at];
            let found = self.hash(first.at, 0..blob.len(), progress)?;
            if found == *digest {
                wrong.get_or_insert((*digest, first));
            } else {
                corrupt.push((*digest, found, first));
            }
        }
        let bytes = |piece: &Piece| piece.start as u64..piece.end as u64;
        if let Some(&(digest, found, first)) = corrupt.first() {
            let (tensors, others) = (self.tensors_of(digest), corrupt.len() - 1);
            let bytes = first.is_chunk.then(|| bytes(first));
            return Err(CorruptError::Blob { digest, found, bytes, tensors, others });
        }
        let (digest, first) = wrong.expect("each of them is the one or the other");
        Err(CorruptError::Table { digest, bytes: bytes(first), tensors: self.tensors_of(digest) })
    }

    /// What is to be hashed of the blobs, and what it should give, the largest blobs first.
    fn pieces(&self) -> Vec<Piece> {
        let mut lists: HashMap<Digest, &Chunks> = HashMap::new();
        for entry in &self.source.table().blobs {
            lists.extend(entry.chunks.as_ref().map(|chunks| (entry.digest, chunks)));
        }
        let mut order: Vec<usize> = (0..self.blobs.len()).collect();
        order.sort_by_key(|&at| Reverse(self.blobs[at].1.len()));
        let mut pieces = Vec::new();
        for at in order {
            let (digest, blob) = &self.blobs[at];
            let size = blob.len();
            match lists.get(digest).filter(|list| list.fits(size as u64)) {
                None => pieces.push(Piece { at, start: 0, end: size, digest: *digest, is_chunk: false }),
                Some(list) => {
                    let step = usize::try_from(Chunks::SIZE).unwrap_or(usize::MAX);
                    let starts = (0..size).step_by(step);
                    pieces.extend(starts.zip(&list.digests).map(|(start, digest)| Piece {
                        at,
                        start,
                        end: start.saturating_add(step).min(size),
                        digest: *digest,
                        is_chunk: true,
                    }));
                }
            }
        }
        pieces
    }

    /// Hashes bytes of a blob.
    fn hash(&self, at: usize, bytes: Range<usize>, progress: &dyn Progress) -> Result<Digest, CorruptError> {
        let (digest, blob) = &self.blobs[at];
        hash(blob, bytes, progress).map_err(|stop| match stop {
            Stop::Cancelled => CorruptError::Cancelled,
            Stop::Read(source) => CorruptError::Read { digest: *digest, tensors: self.tensors_of(*digest), source },
        })
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

/// Bytes that are hashed at once, and the digest that they should have.
struct Piece {
    /// Place of the blob among the mapped ones.
    at: usize,
    start: usize,
    end: usize,
    digest: Digest,
    /// Whether it is a chunk, and not a whole blob.
    is_chunk: bool,
}

fn hash(blob: &BlobBytes, bytes: Range<usize>, progress: &dyn Progress) -> Result<Digest, Stop> {
    let mut hasher = Hasher::default();
    for (chunk, offset) in blob[bytes.clone()].chunks(CHUNK).zip((bytes.start..).step_by(CHUNK)) {
        if progress.cancelled() {
            return Err(Stop::Cancelled);
        }
        blob.populate(offset, chunk.len()).map_err(Stop::Read)?;
        hasher.update(chunk);
        progress.advance(chunk.len() as u64);
    }
    Ok(hasher.finish())
}
