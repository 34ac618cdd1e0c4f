//! Deleting: names, and blobs that no name reaches.

use std::{collections::HashSet, fs::File, io, path::Path, time::Duration};

use super::{ForeignStore, ModelError, Store};
use crate::{Digest, FsError, ModelName, fs};

/// Blobs that cannot be deleted now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GcError {
    /// The store belongs to another program.
    #[error(transparent)]
    Foreign(#[from] ForeignStore),
    /// An import is running; its blobs have no name yet.
    #[error("another process is adding to or deleting from {}", root.display())]
    Busy {
        /// The store's directory.
        root: std::path::PathBuf,
    },
    /// A manifest cannot be read, so nobody knows which blobs it needs.
    #[error("the manifest of {name} cannot be read, so its blobs are not known")]
    Unreadable {
        /// The name whose manifest it is.
        name: Box<ModelName>,
        /// Why it cannot be read.
        source: ModelError,
    },
    /// A name to be removed that does not exist.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// What [`Store::gc`] deleted, or would delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcOutcome {
    /// The blobs that no name reaches, with their sizes in bytes.
    pub blobs: Vec<(Digest, u64)>,
    /// The size of temporaries of killed imports, in bytes.
    pub temporary_bytes: u64,
}

impl GcOutcome {
    /// The space freed, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|(_, size)| size).sum::<u64>() + self.temporary_bytes
    }
}

/// What [`Store::remove`] did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Removed {
    /// The blobs that only the removed name reached, now deleted, with their sizes in bytes.
    pub blobs: Vec<(Digest, u64)>,
    /// Why blobs were left for a later [`Store::gc`], if they were. The name is removed all the same.
    pub left: Option<GcError>,
}

impl Removed {
    /// The space freed, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|(_, size)| size).sum()
    }
}

impl Store {
    /// Deletes the blobs that no name reaches, and what killed imports left. With `dry_run` only says which; while an import
    /// runs, temporaries are then not counted.
    ///
    /// # Errors
    ///
    /// [`GcError::Busy`] while an import runs, [`GcError::Unreadable`] if a manifest cannot be read: then nothing is deleted.
    pub fn gc(&self, dry_run: bool) -> Result<GcOutcome, GcError> {
        self.check_own()?;
        if !self.blobs().exists() {
            return Ok(GcOutcome::default());
        }
        let lock = self.lock_exclusive();
        if dry_run {
            // Without the lock an import may be running, and the temporaries may be its own.
            let temporaries = if lock.is_ok() { self.temporaries(Duration::ZERO)? } else { Vec::new() };
            let temporary_bytes = temporaries.iter().map(|(_, size)| size).sum();
            return Ok(GcOutcome { blobs: self.unreferenced()?, temporary_bytes });
        }
        let _lock = lock?;
        let blobs = self.unreferenced()?;
        let temporary_bytes = self.remove_temporaries(Duration::ZERO)?;
        self.delete(&blobs)?;
        Ok(GcOutcome { blobs, temporary_bytes })
    }

    /// Removes a name, and deletes the blobs that only it reached.
    ///
    /// # Errors
    ///
    /// [`GcError::Foreign`], [`GcError::Model`] for an unknown name, [`GcError::Fs`]. Blobs that cannot be deleted now are no error,
    /// see [`Removed::left`].
    pub fn remove(&self, name: &ModelName) -> Result<Removed, GcError> {
        self.check_own()?;
        let path = self.manifest_path(name);
        // A manifest that cannot be parsed can be removed too.
        let manifest = match self.read_manifest(name) {
            Err(error @ ModelError::NotFound { .. }) => return Err(error.into()),
            other => other.ok(),
        };
        fs::remove_file(&path)?;
        self.remove_empty_parents(&path)?;
        let own: HashSet<Digest> =
            manifest.iter().flat_map(|(_, manifest)| manifest.blobs()).map(|blob| blob.digest).collect();
        match self.delete_unreferenced(|digest| own.contains(digest)) {
            Ok(blobs) => Ok(Removed { blobs, left: None }),
            Err(error) => Ok(Removed { blobs: Vec::new(), left: Some(error) }),
        }
    }

    /// Removes the directories that a removed manifest leaves empty, and makes that durable: a name that came back after a crash
    /// would have lost its blobs.
    fn remove_empty_parents(&self, manifest: &Path) -> Result<(), FsError> {
        let root = self.manifests();
        for dir in manifest.ancestors().skip(1).take_while(|dir| *dir != root) {
            match std::fs::remove_dir(dir) {
                Ok(()) => {}
                // Another process has removed it, or it is not empty: `sync_dir` tells which.
                Err(_) => match fs::sync_dir(dir) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => return other,
                },
            }
        }
        fs::sync_dir(&root)
    }

    fn delete_unreferenced(&self, filter: impl Fn(&Digest) -> bool) -> Result<Vec<(Digest, u64)>, GcError> {
        let _lock = self.lock_exclusive()?;
        let mut blobs = self.unreferenced()?;
        blobs.retain(|(digest, _)| filter(digest));
        self.delete(&blobs)?;
        Ok(blobs)
    }

    /// Deletes blobs, once it is certain that no manifest which names them can come back after a crash: whoever removed or
    /// replaced it may have been killed before it was durable.
    fn delete(&self, blobs: &[(Digest, u64)]) -> Result<(), FsError> {
        if blobs.is_empty() {
            return Ok(());
        }
        // Host, namespace, model.
        fs::sync_tree(&self.manifests(), 3)?;
        blobs.iter().try_for_each(|(digest, _)| fs::remove_file(&self.blob_path(digest)))
    }

    /// The blobs that no manifest names, with their sizes in bytes.
    fn unreferenced(&self) -> Result<Vec<(Digest, u64)>, GcError> {
        let mut used = HashSet::new();
        for name in self.names()? {
            match self.read_manifest(&name) {
                Ok((_, manifest)) => used.extend(manifest.blobs().map(|blob| blob.digest)),
                // Removed since it was listed.
                Err(ModelError::NotFound { .. }) => {}
                Err(source) => return Err(GcError::Unreadable { name: Box::new(name), source }),
            }
        }
        let mut blobs = self.blob_files()?;
        blobs.retain(|(digest, _)| !used.contains(digest));
        Ok(blobs)
    }

    fn lock_exclusive(&self) -> Result<File, GcError> {
        let lock = self.lock_file()?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(std::fs::TryLockError::WouldBlock) => Err(GcError::Busy { root: self.root().to_path_buf() }),
            Err(std::fs::TryLockError::Error(error)) => Err(FsError::at("lock", self.root())(error).into()),
        }
    }
}
