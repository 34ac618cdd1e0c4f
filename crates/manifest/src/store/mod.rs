//! The store on disk: blobs by digest, manifests by name.

mod blob;
mod gc;
mod ingest;
mod mend;
mod models;
mod sweep;
mod verify;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

pub use blob::BlobWriter;
pub use gc::{GcError, GcOutcome, Removed};
pub use ingest::{Added, Committed, Ingest, IngestError};
pub use models::{CopyError, ListEntry, Model, ModelError, Summary};
pub use verify::{Bad, Problem, VerifyError, VerifyOptions, VerifyOutcome};

use crate::{Digest, FsError, ModelName, fs};

/// What the marker file of a store holds.
const MARKER: &str = "{\"longshore\":\"store\",\"version\":1}\n";
/// The name of the file that marks a directory as a store of ours.
pub const MARKER_NAME: &str = "longshore.json";

/// A store: a directory with `blobs/sha256-<hex>` and `manifests/<host>/<namespace>/<model>/<tag>`.
///
/// Opening reads nothing but the marker file, and a store that does not exist yet is an empty one; [`Store::ingest`] makes it.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    foreign: bool,
}

/// A store that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The marker says that the store is of a kind that this release does not know.
    #[error("{} is not a store that this release can read: its {MARKER_NAME} holds {found:?}", path.display())]
    Marker {
        /// The store's directory.
        path: PathBuf,
        /// The start of what the marker holds.
        found: String,
    },
    /// The path is a file.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// A store of another program, which is read and never written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} belongs to another program and is only read", root.display())]
#[non_exhaustive]
pub struct ForeignStore {
    /// The store's directory.
    pub root: PathBuf,
}

impl Store {
    /// Opens the store in `root`.
    ///
    /// A directory that holds blobs or manifests and no marker of ours belongs to another program: it can be read, and every
    /// change is refused with [`ForeignStore`].
    ///
    /// # Errors
    ///
    /// [`StoreError::NotADirectory`], [`StoreError::Marker`] for a later version, [`StoreError::Fs`].
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        match root.metadata() {
            Ok(found) if !found.is_dir() => return Err(StoreError::NotADirectory { path: root }),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { root, foreign: false }),
            Err(error) => return Err(FsError::at("open the store", &root)(error).into()),
        }
        let marker = match fs::read_at_most(&root.join(MARKER_NAME), 4096) {
            Ok(content) => content.unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let foreign = root.join("blobs").exists() || root.join("manifests").exists();
                return Ok(Self { root, foreign });
            }
            Err(error) => return Err(error.into()),
        };
        if marker != MARKER.as_bytes() {
            let found = String::from_utf8_lossy(&marker).chars().take(80).collect();
            return Err(StoreError::Marker { path: root, found });
        }
        Ok(Self { root, foreign: false })
    }

    /// The store's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether another program owns the store, so that it is only read.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// The file of a blob, whether or not it exists.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.file_name())
    }

    /// The file of a name's manifest, whether or not it exists.
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
        if self.foreign { Err(ForeignStore { root: self.root.clone() }) } else { Ok(()) }
    }

    /// Makes the marker and the directories where they are missing, durably.
    fn create(&self) -> Result<(), FsError> {
        let make = |dirs: &[PathBuf]| {
            let mut changed = Vec::new();
            for dir in dirs {
                changed.extend(fs::create_dir_all(dir)?);
            }
            changed.sort_unstable();
            changed.dedup();
            changed.iter().try_for_each(|dir| fs::sync_dir(dir))
        };
        make(&[self.temporary()])?;
        let marker = self.root.join(MARKER_NAME);
        if !marker.exists() {
            // The marker comes first: a directory with blobs and without it would be taken for another program's after a
            // crash. Whoever comes second writes the same bytes over it.
            let unique = self.temporary().join(format!("marker-{}", unique_name()));
            let write = || {
                std::fs::write(&unique, MARKER).map_err(FsError::at("write to", &unique))?;
                fs::open(&unique)?.sync_all().map_err(FsError::at("sync", &unique))?;
                fs::rename(&unique, &marker)
            };
            match write() {
                // No lock is held yet: once another process has made the store, `gc` may take the temporary away.
                Err(error) if error.kind() == io::ErrorKind::NotFound && marker.exists() => {}
                other => other?,
            }
            fs::sync_dir(&self.root)?;
        }
        make(&[self.blobs(), self.manifests()])
    }

    /// Every blob file, sorted by digest, with its size in bytes. Other files in `blobs/` are left out.
    fn blob_files(&self) -> Result<Vec<(Digest, u64)>, FsError> {
        let dir = self.blobs();
        let mut found = Vec::new();
        for (name, _) in fs::entries(&dir)? {
            let Some(digest) = Digest::from_file_name(&name) else { continue };
            let path = dir.join(name);
            match path.metadata() {
                Ok(metadata) if metadata.is_file() => found.push((digest, metadata.len())),
                // Removed since it was listed, or nothing that we wrote.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(FsError::at("read the size of", &path)(error)),
            }
        }
        Ok(found)
    }

    /// The lock file: shared by those who add blobs, exclusive for those who delete them.
    fn lock_file(&self) -> Result<File, FsError> {
        let path = self.root.join("lock");
        File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(FsError::at("open the lock", &path))
    }
}

/// A file name that no other writer uses: the process, the time and a count.
fn unique_name() -> String {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        time::{SystemTime, UNIX_EPOCH},
    };
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{since:x}-{count}", std::process::id())
}
