//! Replacement of damaged blobs.

use std::{collections::HashSet, sync::PoisonError};

use super::{BlobWriter, Ingest};
use crate::{Digest, FsError};

impl Ingest<'_> {
    /// Makes a writer of a replacement for the blob `digest`, which is missing or damaged. Stored bytes are not
    /// trusted. [`Self::mend`] or [`Self::commit`] puts the replacement in place if its bytes have that digest.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the temporary file cannot be created.
    pub fn replacement(&self, digest: Digest) -> Result<BlobWriter<'_>, FsError> {
        BlobWriter::replacing(self, digest)
    }

    /// Makes the added blobs with one of these digests durable, puts them in place, and drops all others. Changes no
    /// name. Returns the digests and sizes in bytes of the blobs that were put in place, in the order of `digests`.
    ///
    /// # Errors
    ///
    /// [`FsError`] if a file operation fails. Some of the blobs may be in place then, and each of those is whole.
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
