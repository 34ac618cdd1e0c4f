//! Removal of a name, and of the blobs that only this name reaches.

use std::{collections::HashSet, io, path::Path};

use super::{GcError, ModelError, Store, gc::total};
use crate::{Digest, FsError, ModelName, Silent};

/// Result of [`Store::remove`].
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Removed {
    /// Deleted blobs with their sizes in bytes. Only the removed name reached them.
    pub blobs: Vec<(Digest, u64)>,
    /// Blobs that no other name reaches but a running import needs, with their sizes in bytes. They stay.
    pub in_use: Vec<(Digest, u64)>,
    /// Error because of which blobs were left for a later [`Store::gc`]. The name is removed in any case.
    pub left: Option<GcError>,
}

impl Removed {
    /// Returns the number of freed bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        total(&self.blobs)
    }
}

impl Store {
    /// Removes a name, and deletes the blobs that only this name reached, however young they are.
    ///
    /// # Errors
    ///
    /// [`GcError::Foreign`], [`GcError::Split`], [`GcError::Model`] for an unknown name, [`GcError::Fs`]. Blobs that
    /// cannot be deleted now are not an error, see [`Removed::left`].
    pub fn remove(&self, name: &ModelName) -> Result<Removed, GcError> {
        self.check_own()?;
        self.check_whole()?;
        let path = self.manifest_path(name);
        // A manifest that does not parse can be removed too.
        let manifest = match self.read_manifest(name) {
            Err(error @ ModelError::NotFound { .. }) => return Err(error.into()),
            other => other,
        };
        self.disk.remove_file(&path)?;
        self.remove_empty_parents(&path)?;
        let left = |error| Removed { left: Some(error), ..Removed::default() };
        Ok(match manifest {
            Ok((_, manifest)) => {
                let own = manifest.blobs().map(|blob| blob.digest).collect();
                self.free_unnamed(own, None).unwrap_or_else(left)
            }
            Err(source) => left(GcError::Unreadable { name: Box::new(name.clone()), source }),
        })
    }

    /// Deletes the blobs that no name reaches and no running import needs. The lease in `own` does not count.
    pub(super) fn free_unnamed(&self, blobs: HashSet<Digest>, own: Option<&Path>) -> Result<Removed, GcError> {
        let marked = self.mark(own)?;
        let mut candidates = Vec::new();
        let mut removed = Removed::default();
        for digest in blobs.into_iter().filter(|digest| !marked.named.contains(digest)) {
            let path = self.blob_path(&digest);
            let found = match path.metadata() {
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    removed.left.get_or_insert_with(|| FsError::at("read the size of", &path)(error).into());
                    continue;
                }
            };
            let kind = if marked.leased.contains(&digest) { &mut removed.in_use } else { &mut candidates };
            kind.push((digest, found.len()));
        }
        candidates.sort_unstable();
        let freed = self.free(&candidates, own, |_| true, &Silent)?;
        removed.in_use.extend(freed.needed);
        removed.in_use.sort_unstable();
        Ok(Removed { blobs: freed.deleted, ..removed })
    }

    /// Removes the directories that are empty without the removed manifest, and makes the removal durable. Otherwise a
    /// crash could bring the name back without its blobs.
    pub(super) fn remove_empty_parents(&self, manifest: &Path) -> Result<(), FsError> {
        let root = self.manifests();
        for dir in manifest.ancestors().skip(1).take_while(|dir| *dir != root) {
            if self.disk.remove_dir(dir).is_err() {
                // Another process removed the directory, or it is not empty. The sync finds out which.
                match self.disk.sync_dir(dir) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => return other,
                }
            }
        }
        self.disk.sync_dir(&root)
    }
}
