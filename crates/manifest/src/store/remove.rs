//! `rm`: a name, and the blobs that only it reaches.

use std::{collections::HashSet, io, path::Path};

use super::{GcError, ModelError, Store, gc::total};
use crate::{Digest, FsError, ModelName};

/// Outcome of [`Store::remove`].
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Removed {
    /// The blobs that only the removed name reached, now deleted, with their sizes in bytes.
    pub blobs: Vec<(Digest, u64)>,
    /// The blobs that no other name reaches, and that stay because a running import needs them, with their sizes in bytes.
    pub in_use: Vec<(Digest, u64)>,
    /// Why blobs were left for a later [`Store::gc`], if they were. The name is removed all the same.
    pub left: Option<GcError>,
}

impl Removed {
    /// The space freed, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        total(&self.blobs)
    }
}

impl Store {
    /// Removes a name, and deletes the blobs that only it reached, however young they are.
    ///
    /// # Errors
    ///
    /// [`GcError::Foreign`], [`GcError::Split`], [`GcError::Model`] for an unknown name, [`GcError::Fs`]. Blobs that cannot be deleted now are no error,
    /// see [`Removed::left`].
    pub fn remove(&self, name: &ModelName) -> Result<Removed, GcError> {
        self.check_own()?;
        self.check_whole()?;
        let path = self.manifest_path(name);
        // A manifest that cannot be parsed can be removed too.
        let manifest = match self.read_manifest(name) {
            Err(error @ ModelError::NotFound { .. }) => return Err(error.into()),
            other => other.ok(),
        };
        self.disk.remove_file(&path)?;
        self.remove_empty_parents(&path)?;
        let own: HashSet<Digest> =
            manifest.iter().flat_map(|(_, manifest)| manifest.blobs()).map(|blob| blob.digest).collect();
        Ok(self.free_unnamed(own, None).unwrap_or_else(|error| Removed { left: Some(error), ..Removed::default() }))
    }

    /// Deletes those of the blobs that no name reaches and no running import needs. The lease in `own` does not count.
    pub(super) fn free_unnamed(&self, blobs: HashSet<Digest>, own: Option<&Path>) -> Result<Removed, GcError> {
        let marked = self.mark(own)?;
        let mut candidates = Vec::new();
        let mut removed = Removed::default();
        for digest in blobs.into_iter().filter(|digest| !marked.named.contains(digest)) {
            let Ok(found) = self.blob_path(&digest).metadata() else { continue };
            let kind = if marked.leased.contains(&digest) { &mut removed.in_use } else { &mut candidates };
            kind.push((digest, found.len()));
        }
        candidates.sort_unstable();
        let freed = self.free(&candidates, own, |_| true)?;
        removed.in_use.extend(freed.needed);
        removed.in_use.sort_unstable();
        Ok(Removed { blobs: freed.deleted, ..removed })
    }

    /// Removes the directories that a removed manifest leaves empty, and makes that durable: a name that came back after a crash
    /// would have lost its blobs.
    pub(super) fn remove_empty_parents(&self, manifest: &Path) -> Result<(), FsError> {
        let root = self.manifests();
        for dir in manifest.ancestors().skip(1).take_while(|dir| *dir != root) {
            if self.disk.remove_dir(dir).is_err() {
                // Another process has removed it, or it is not empty: syncing it tells which.
                match self.disk.sync_dir(dir) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => return other,
                }
            }
        }
        self.disk.sync_dir(&root)
    }
}
