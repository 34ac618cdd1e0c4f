//! The store on disk: blobs by digest, manifests by name.

mod aside;
mod blob;
mod commit;
mod directory;
mod foreign;
mod free;
mod gc;
mod hash;
mod ingest;
mod lean;
mod lease;
mod list;
mod mend;
mod models;
mod origins;
mod owner;
mod pull;
mod read;
mod remove;
mod spelling;
mod split;
mod steady;
mod sweep;
mod takeover;
#[cfg(test)]
mod tests;
mod verify;
mod window;
mod write_back;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use blob::BlobWriter;
pub use commit::Committed;
pub use directory::Owner;
pub use foreign::TableError;
pub use gc::{GcError, GcOptions, GcOutcome};
pub use ingest::{Added, Ingest, IngestError};
pub use models::{CopyError, ListEntry, Model, ModelError, Summary};
pub use origins::{Made, Origins, OriginsError, Place};
pub use pull::{Partial, PartialError, Pull, PullEntry, PullError, PullRecord};
pub use read::BlobReader;
pub use remove::Removed;
pub use spelling::SpellingError;
pub use split::SplitStore;
pub use verify::{Bad, Problem, VerifyError, VerifyOptions, VerifyOutcome};

use crate::{
    Digest, FsError, ModelName,
    fs::{self, Disk},
};
use owner::unique_name;

/// Content of the marker file of a store.
const MARKER: &str = "{\"longshore\":\"store\",\"version\":1}\n";
/// Name of the file that marks a directory as a store of this project.
pub const MARKER_NAME: &str = "longshore.json";

/// A store: a directory with `blobs/sha256-<hex>` and `manifests/<host>/<namespace>/<model>/<tag>`.
///
/// Opening a store reads only the marker file. A directory that does not exist opens as an empty store;
/// [`Store::ingest`] creates it.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    owner: Option<Owner>,
    disk: Disk,
}

/// Reason why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The marker is that of a kind of store that this release does not support.
    #[error("{} is not a store that this release can read: its {MARKER_NAME} holds {found:?}", path.display())]
    Marker {
        /// Directory of the store.
        path: PathBuf,
        /// Start of the marker's content.
        found: String,
    },
    /// The path is not a directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// Path that was opened.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// A directory that this project must not write to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {}", root.display(), match owner {
    Owner::OtherProgram => "belongs to another program and is only read",
    Owner::HubCache => "is a Hugging Face hub cache and is only read",
    Owner::Nobody => "is neither a store nor empty: a store is made in a directory of its own",
})]
#[non_exhaustive]
pub struct ForeignStore {
    /// The directory.
    pub root: PathBuf,
    /// Kind of the directory.
    pub owner: Owner,
}

impl Store {
    /// Opens the store in `root`.
    ///
    /// A directory with blobs or manifests and without a marker of this project belongs to another program: it can be
    /// read, and every change is refused with [`ForeignStore`]. Changes to a Hugging Face hub cache, or to a directory
    /// with other files, are refused too, and no models are found there: see [`Self::owner`].
    ///
    /// # Errors
    ///
    /// [`StoreError::NotADirectory`], [`StoreError::Marker`] for a later version, [`StoreError::Fs`].
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_on(root.into(), Disk::default())
    }

    /// Opens the store in `root`, with changes that go through `disk`.
    fn open_on(root: PathBuf, disk: Disk) -> Result<Self, StoreError> {
        match root.metadata() {
            Ok(found) if !found.is_dir() => return Err(StoreError::NotADirectory { path: root }),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { root, owner: None, disk }),
            Err(error) => return Err(FsError::at("open the store", &root)(error).into()),
        }
        let marker = match fs::read_at_most(&root.join(MARKER_NAME), 4096) {
            Ok(content) => content.unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let owner = directory::owner_of(&root)?;
                // Another process may have created the store in the meantime.
                if owner.is_none() || !root.join(MARKER_NAME).exists() {
                    return Ok(Self { root, owner, disk });
                }
                fs::read_at_most(&root.join(MARKER_NAME), 4096)?.unwrap_or_default()
            }
            Err(error) => return Err(error.into()),
        };
        if marker != MARKER.as_bytes() {
            let found = String::from_utf8_lossy(&marker).chars().take(80).collect();
            return Err(StoreError::Marker { path: root, found });
        }
        Ok(Self { root, owner: None, disk })
    }

    /// Returns the directory of the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the directory is not a store of this project, so that it is only read.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.owner.is_some()
    }

    /// Returns the kind of the directory if it is neither a store of this project nor was empty when it was opened.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// Returns the path of a blob's file, whether or not it exists.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.file_name())
    }

    /// Returns the path of a name's manifest, whether or not it exists.
    #[must_use]
    pub fn manifest_path(&self, name: &ModelName) -> PathBuf {
        self.manifests().join(name.path())
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn check_own(&self) -> Result<(), ForeignStore> {
        match self.owner {
            None => Ok(()),
            Some(owner) => Err(ForeignStore { root: self.root.clone(), owner }),
        }
    }

    /// Creates the marker and the directories that are missing, durably.
    fn create(&self) -> Result<(), FsError> {
        let make = |dirs: &[PathBuf]| {
            let mut changed = Vec::new();
            for dir in dirs {
                changed.extend(self.disk.create_dir_all(dir)?);
            }
            changed.sort_unstable();
            changed.dedup();
            changed.iter().try_for_each(|dir| self.disk.sync_dir(dir))
        };
        make(&[self.temporary()])?;
        let marker = self.root.join(MARKER_NAME);
        if !marker.exists() {
            // The marker comes first: after a crash, a directory with blobs and without the marker would be taken for
            // another program's. A second process writes the same marker over it.
            let unique = self.temporary().join(unique_name());
            let write = || {
                self.disk.write_new(&unique, MARKER.as_bytes())?;
                self.disk.sync_file(&unique)?;
                self.disk.rename(&unique, &marker)
            };
            if let Err(error) = write() {
                // The earlier error is the one to report. A later import sweeps the file.
                let _ = self.disk.remove_file(&unique);
                return Err(error);
            }
            self.disk.sync_dir(&self.root)?;
        }
        // A store without manifests has no blobs. If there are blobs, the manifests are only out of reach.
        make(&[self.manifests()])?;
        make(&[self.blobs()])
    }

    /// Creates a directory in `tmp` for this process alone.
    fn create_temporary(&self) -> Result<PathBuf, FsError> {
        let dir = self.temporary().join(unique_name());
        match self.disk.create_dir(&dir) {
            // Another process has removed `tmp`, whose contents may always be removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.disk.create_dir_all(&dir)?;
            }
            other => other?,
        }
        Ok(dir)
    }

    /// Lists every blob file, sorted by digest, with its size in bytes. Other files in `blobs/` are left out.
    fn blob_files(&self) -> Result<Vec<(Digest, u64)>, FsError> {
        let dir = self.blobs();
        let mut found = Vec::new();
        for (name, _) in fs::entries(&dir)? {
            let Some(digest) = Digest::from_file_name(&name) else { continue };
            let path = dir.join(name);
            match path.metadata() {
                Ok(metadata) if metadata.is_file() => found.push((digest, metadata.len())),
                // The file was removed after it was listed, or is not a regular file.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(FsError::at("read the size of", &path)(error)),
            }
        }
        Ok(found)
    }
}
