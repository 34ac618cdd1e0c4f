//! Deletion of blobs beside running imports that may need them.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use super::{GcError, ModelError, Store, gc::total, lease};
use crate::{Digest, FsError, Progress, fs};

/// Result of a deletion. Each blob is given with its size in bytes.
#[derive(Debug, Default)]
pub(super) struct Freed {
    /// Deleted blobs.
    pub(super) deleted: Vec<(Digest, u64)>,
    /// Blobs that stay because a name or a running import needs them.
    pub(super) needed: Vec<(Digest, u64)>,
}

/// Blobs that must stay.
#[derive(Debug, Default)]
pub(super) struct Marked {
    pub(super) named: HashSet<Digest>,
    pub(super) leased: HashSet<Digest>,
}

impl Marked {
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.named.contains(digest) || self.leased.contains(digest)
    }
}

impl Store {
    /// Finds the blobs that a name reaches or a running import needs. The lease in `own` does not count.
    ///
    /// Reads leases before manifests. An import gives up its lease after it has placed its manifest, so at least one of
    /// the two lists its blobs.
    pub(super) fn mark(&self, own: Option<&Path>) -> Result<Marked, GcError> {
        let mut marked = Marked::default();
        for running in self.temporaries()?.iter().filter(|found| !found.is_dead && Some(&*found.path) != own) {
            marked.leased.extend(lease::read(&running.path)?.into_iter().map(|line| line.digest));
        }
        marked.leased.extend(self.pulled_blobs()?);
        self.disk.between_reads();
        for name in self.all_names()? {
            match self.read_manifest(&name) {
                Ok((_, manifest)) => marked.named.extend(manifest.blobs().map(|blob| blob.digest)),
                // The name was removed after it was listed.
                Err(ModelError::NotFound { .. }) => {}
                Err(source) => return Err(GcError::Unreadable { name: Box::new(name), source }),
            }
        }
        Ok(marked)
    }

    /// Deletes the `candidates` that nobody needs. Right before a blob is moved, `is_free` must confirm it.
    ///
    /// # No interleaving loses a blob
    ///
    /// An import that uses a stored blob (1) adds a line to its lease, and then (2) checks that the blob is there. This
    /// function (A) moves the blob away, and then (B) reads all leases. If 1 comes before B, the blob is put back.
    /// Otherwise 2 comes after 1, 1 after B, and B after A: the import sees that the blob is missing, and writes its
    /// own.
    pub(super) fn free(
        &self,
        candidates: &[(Digest, u64)],
        own: Option<&Path>,
        is_free: impl Fn(&Digest) -> bool,
        progress: &dyn Progress,
    ) -> Result<Freed, GcError> {
        if candidates.is_empty() {
            return Ok(Freed::default());
        }
        // A manifest that a crash could bring back must not lose its blobs: a process that removed or replaced it may
        // have been killed before the change was durable. The three levels are host, namespace and model.
        self.disk.sync_tree(&self.manifests(), 3)?;
        let dir = self.create_temporary()?;
        progress.begin("deleting", total(candidates));
        let done = self.free_through(&dir, candidates, own, is_free, progress);
        if done.is_err() {
            // The earlier error is the one to report. Blobs that cannot be put back now are put back by the next import
            // or `gc`.
            let _ = self.discard(&dir);
        }
        done
    }

    fn free_through(
        &self,
        dir: &Path,
        candidates: &[(Digest, u64)],
        own: Option<&Path>,
        is_free: impl Fn(&Digest) -> bool,
        progress: &dyn Progress,
    ) -> Result<Freed, GcError> {
        let mut moved = Vec::new();
        let go_on = || if progress.cancelled() { Err(GcError::Cancelled) } else { Ok(()) };
        for (digest, size) in candidates {
            go_on()?;
            progress.advance(*size);
            if is_free(digest) && exists(self.disk.rename(&self.blob_path(digest), &dir.join(digest.file_name())))? {
                moved.push((*digest, *size));
            }
        }
        let marked = self.mark(own)?;
        go_on()?;
        let (needed, deleted): (Vec<_>, Vec<_>) = moved.into_iter().partition(|(digest, _)| marked.contains(digest));
        for (digest, _) in &needed {
            // If the blob is in place again, or an import has already fetched it, nothing is left to do.
            exists(self.disk.rename_new(&dir.join(digest.file_name()), &self.blob_path(digest)).map(drop))?;
        }
        self.disk.remove_tree(dir)?;
        Ok(Freed { deleted, needed })
    }

    /// Puts back a blob that a running or dead `gc` has moved away. Returns whether a blob of that size is in place
    /// afterwards.
    ///
    /// This is safe for the `gc`: it is dead, or has yet to read the lease of the caller.
    pub(super) fn rescue(&self, digest: &Digest, size: u64) -> Result<bool, FsError> {
        let target = self.blob_path(digest);
        // The owner may put the blob back between two searches.
        for _ in 0..3 {
            if fs::is_file_of(&target, size) {
                return Ok(true);
            }
            for found in self.temporaries()? {
                if let Some(moved) = find(&found.path, &digest.file_name(), size)? {
                    exists(self.disk.rename_new(&moved, &target).map(drop))?;
                }
            }
        }
        Ok(fs::is_file_of(&target, size))
    }
}

/// Finds a file by name and size in bytes at any depth. A process that takes over the directory of a dead `gc` has that
/// directory below its own for a moment.
fn find(dir: &Path, name: &str, size: u64) -> Result<Option<PathBuf>, FsError> {
    let path = dir.join(name);
    if fs::is_file_of(&path, size) {
        return Ok(Some(path));
    }
    if !fs::is_directory(dir)? {
        return Ok(None);
    }
    for (inner, kind) in fs::entries(dir)? {
        let inner = dir.join(inner);
        if kind.is_dir()
            && !inner.is_symlink()
            && let Some(found) = find(&inner, name, size)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Turns the result of a rename into whether the file was there.
fn exists(renamed: Result<(), FsError>) -> Result<bool, FsError> {
    match renamed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
