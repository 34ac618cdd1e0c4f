//! The way of a pull's blobs into an import: each is durable, and in the journal, before what it was made of may go.

use std::sync::PoisonError;

use super::{
    super::{
        Added, Ingest,
        hash::hash_file,
        ingest::{Complete, Pending},
        lease::{Line, Named},
    },
    open::Pull,
    partial::{Partial, PartialError, partial_name},
};
use crate::{Digest, FsError, RelativePath, document::Chunks, fs};

/// Most digests of chunks in a line of the journal, which has at most 1 MiB. Those of a longer blob are had from its bytes again.
const MAX_CHUNKS: usize = 8192;

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
        Ok(self.take(
            Complete { path: &path, file: None, digest, size, layer: None, is_taken_over: false, chunks: None },
            None,
        )?)
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
        let found = pending().get_mut(&added.digest).map(|blob| (blob.path.clone(), blob.file.take()));
        // A blob that is not pending is in the store, where the journal protects it.
        let file = match found {
            None => None,
            Some((path, handle)) => {
                let kept = partial_name(&added.digest);
                let target = pull.dir.join(&kept);
                if path != target {
                    // Other blobs are taken meanwhile.
                    disk.sync_handle(&path, handle.as_ref())?;
                    drop(handle);
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
        let chunks = added.chunks.clone().filter(|chunks| chunks.digests.len() <= MAX_CHUNKS);
        let line = Line { name: Some(name.to_owned()), file, chunks, ..Line::of(added.digest, added.size) };
        pull.journal.add([line])?;
        pull.journal.sync()
    }

    /// The blob that the journal has under `name`, if it is still there.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the store cannot be looked at.
    pub fn kept(&self, pull: &Pull<'_>, name: &str) -> Result<Option<Added>, FsError> {
        let Some(named) = pull.journal.named(name) else { return Ok(None) };
        let Named { digest, size, .. } = named;
        let path = pull.dir.join(partial_name(&digest));
        if !fs::has_file_of(&path, size)? {
            let is_there = self.reuses(digest, size, None)?;
            return if is_there { kept_at(&self.store().blob_path(&digest), named) } else { Ok(None) };
        }
        let kept = kept_at(&path, named)?;
        if kept.is_some() {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            self.lease().add([Line::of(digest, size)])?;
            pending.entry(digest).or_insert(Pending { path, size, repairs: false, is_taken_over: true, file: None });
        }
        Ok(kept)
    }

    /// Whether a blob of the journal is one of `digests`, so that it will be in the model.
    #[must_use]
    pub fn is_pending(&self, digest: &Digest) -> bool {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).contains_key(digest)
    }
}

/// A blob of the journal that lies at `path`. Digests of its chunks that the journal lacks, as one of an earlier release does, are had from
/// its bytes. `None` if these are not those of its digest.
fn kept_at(path: &std::path::Path, Named { digest, size, chunks }: Named) -> Result<Option<Added>, FsError> {
    if Chunks::count(size) == 0 {
        return Ok(Some(Added::reused(digest, size, None)));
    }
    if let Some(chunks) = chunks.filter(|chunks| chunks.fits(size)) {
        return Ok(Some(Added::reused(digest, size, Some(chunks))));
    }
    let (found, chunks) = hash_file(path)?;
    Ok((found == digest).then(|| Added::reused(digest, size, chunks)))
}
