//! Hashing of loaded weights.

use std::{
    cmp::Reverse,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{Weights, name_in};
use crate::{Digest, Hasher, Progress};

/// Number of bytes that are hashed between two checks for cancellation.
const CHUNK: usize = 256 << 10;
/// Largest number of tensors that an error names.
const NAMED: usize = 4;

/// Loaded weights that differ from the stored ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// [`CorruptError::Blob`] for the first blob with another digest, [`CorruptError::Cancelled`].
    pub fn verify(&self, progress: &dyn Progress) -> Result<(), CorruptError> {
        let mut others: Vec<_> = self.others.iter().map(|(digest, blob)| (*digest, blob)).collect();
        others.sort_unstable_by_key(|(digest, _)| *digest);
        let blobs: Vec<_> = self.blobs.iter().map(|(digest, blob)| (*digest, blob)).chain(others).collect();
        progress.begin("verifying", blobs.iter().map(|(_, blob)| blob.len() as u64).sum());
        let mut order: Vec<usize> = (0..blobs.len()).collect();
        order.sort_by_key(|&at| Reverse(blobs[at].1.len()));
        let next = AtomicUsize::new(0);
        let work = |_: rayon::BroadcastContext<'_>| {
            let mut corrupt = Vec::new();
            while let Some(&at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (digest, blob) = blobs[at];
                let found = hash(blob, progress)?;
                if found != digest {
                    corrupt.push((at, found));
                }
            }
            Ok(corrupt)
        };
        let corrupt: Result<Vec<_>, CorruptError> = rayon::broadcast(work).into_iter().collect();
        let corrupt: Vec<_> = corrupt?.into_iter().flatten().collect();
        let Some(&(at, found)) = corrupt.iter().min_by_key(|(at, _)| *at) else { return Ok(()) };
        let digest = blobs[at].0;
        let has_part = |located| self.tensor(located).entry.parts.iter().any(|part| part.blob == Some(digest));
        let of_blob = self.tensors.iter().filter(|located| located.map == at || has_part(**located));
        Err(CorruptError::Blob {
            digest,
            found,
            tensors: of_blob.map(|located| name_in(&self.table, *located).to_owned()).collect(),
            others: corrupt.len() - 1,
        })
    }
}

fn hash(blob: &[u8], progress: &dyn Progress) -> Result<Digest, CorruptError> {
    let mut hasher = Hasher::default();
    for chunk in blob.chunks(CHUNK) {
        if progress.cancelled() {
            return Err(CorruptError::Cancelled);
        }
        hasher.update(chunk);
        progress.advance(chunk.len() as u64);
    }
    Ok(hasher.finish())
}
