//! Putting whole blobs in the place of damaged ones.

use std::{collections::HashSet, sync::PoisonError};

use super::{BlobWriter, Ingest};
use crate::{Digest, FsError};

impl Ingest<'_> {
    /// A new blob that takes the place of the store's blob `digest`, which is missing or damaged: what the store has there is not
    /// trusted. It is put there by [`Self::mend`] or [`Self::commit`], if its bytes turn out to have that digest.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the temporary file cannot be made.
    pub fn replacement(&self, digest: Digest) -> Result<BlobWriter<'_>, FsError> {
        BlobWriter::replacing(self, digest)
    }

    /// Makes those of the added blobs durable that have one of these digests, and puts them in place; drops the others. No name
    /// changes what it points at. Returns the digests and sizes in bytes of the blobs that were put in place, in the order of `digests`.
    ///
    /// # Errors
    ///
    /// [`FsError`] for anything that the file system refuses. Some of the blobs may be in place then, and each of those is whole.
    pub fn mend(self, digests: &[Digest]) -> Result<Vec<(Digest, u64)>, FsError> {
        let mut pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        let wanted: HashSet<&Digest> = digests.iter().collect();
        pending.retain(|digest, _| wanted.contains(digest));
        self.sync(&pending, None)?;
        let store = self.store();
        for (digest, blob) in &pending {
            store.disk.rename(&blob.path, &store.blob_path(digest))?;
        }
        store.disk.sync_dir(&store.blobs())?;
        Ok(digests.iter().filter_map(|digest| Some((*digest, pending.remove(digest)?.size))).collect())
    }
}
