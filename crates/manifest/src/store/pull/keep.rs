//! The way of a pull's blobs into an import: each is durable, and in the journal, before what it was made of may go.

use std::sync::PoisonError;

use super::{
    super::{
        Added, Ingest,
        ingest::{Complete, Pending},
        lease::Line,
    },
    open::Pull,
    partial::{Partial, PartialError, partial_name},
};
use crate::{Digest, FsError, RelativePath, fs};

/// Takes the permission to write from a file that becomes a blob. Where that is refused, it stays as it is.
#[cfg(unix)]
fn protect(path: &std::path::Path) {
    if let Ok(found) = path.metadata() {
        let mut permissions = found.permissions();
        permissions.set_readonly(true);
        let _ = std::fs::set_permissions(path, permissions);
    }
}

#[cfg(not(unix))]
fn protect(_path: &std::path::Path) {}

impl Ingest<'_> {
    /// Whether the store has a blob, or this import has it already. From then on nobody deletes it.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the store cannot be looked at.
    pub fn reuse(&self, digest: Digest, size: u64) -> Result<bool, FsError> {
        let has = self.pending.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&digest);
        Ok(has || self.reuses(digest, size, None)?)
    }

    /// Takes a blob that has arrived completely. The file stays the pull's until the import is committed.
    ///
    /// # Errors
    ///
    /// [`PartialError::Digest`] if its bytes are wrong, [`PartialError::Fs`] if a file operation fails.
    pub fn adopt(&self, partial: Partial) -> Result<Added, PartialError> {
        partial.check()?;
        let (path, digest, size) = (partial.path.clone(), partial.digest, partial.size);
        // Windows renames no open file.
        drop(partial);
        protect(&path);
        Ok(self.take(Complete { path: &path, digest, size, layer: None, is_taken_over: false }, None)?)
    }

    /// Makes an added blob durable within the pull, and notes it in the journal under `name`. When this returns, what it was made of is not
    /// needed any more.
    ///
    /// # Errors
    ///
    /// [`FsError`] if a file operation fails.
    pub fn keep(&self, pull: &Pull<'_>, name: &str, added: &Added) -> Result<(), FsError> {
        let disk = &self.store().disk;
        let pending = || self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let path = pending().get(&added.digest).map(|blob| blob.path.clone());
        // A blob that is not pending is in the store, where the journal protects it.
        let file = match path {
            None => None,
            Some(path) => {
                let kept = partial_name(&added.digest);
                let target = pull.dir.join(&kept);
                if path != target {
                    // Other blobs are taken meanwhile.
                    disk.sync_file(&path)?;
                    let mut pending = pending();
                    if let Some(blob) = pending.get_mut(&added.digest).filter(|blob| blob.path == path) {
                        disk.rename(&path, &target)?;
                        blob.path.clone_from(&target);
                    }
                    drop(pending);
                    disk.sync_dir(&pull.dir)?;
                }
                RelativePath::parse(&kept).ok()
            }
        };
        pull.journal.add([Line { digest: added.digest, size: added.size, name: Some(name.to_owned()), file }])?;
        pull.journal.sync()
    }

    /// The blob that the journal has under `name`, if it is still there.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the store cannot be looked at.
    pub fn kept(&self, pull: &Pull<'_>, name: &str) -> Result<Option<Added>, FsError> {
        let Some((digest, size)) = pull.journal.named(name) else { return Ok(None) };
        let path = pull.dir.join(partial_name(&digest));
        if fs::has_file_of(&path, size)? {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            self.lease().add([Line { digest, size, name: None, file: None }])?;
            pending.entry(digest).or_insert(Pending { path, size, repairs: false, is_taken_over: true });
            return Ok(Some(Added { digest, size, reused: true }));
        }
        Ok(self.reuses(digest, size, None)?.then_some(Added { digest, size, reused: true }))
    }

    /// Whether a blob of the journal is one of `digests`, so that it will be in the model.
    #[must_use]
    pub fn is_pending(&self, digest: &Digest) -> bool {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).contains_key(digest)
    }
}
