//! Import of a model, with a directory and a lease of its own. Blobs are found by name or content.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    BlobWriter, ForeignStore, SpellingError, SplitStore, Store,
    lease::{Lease, Line},
    takeover::Leftovers,
};
use crate::{Digest, FsError, RelativePath, document::Chunks, fs};

/// An import in progress: a model that is being added. Dropped without [`Ingest::commit`], it leaves nothing behind.
///
/// ```
/// use longshore_manifest::{
///     Config, Descriptor, Manifest, ModelName, Store, Weights,
///     document::{BlobEntry, TensorEntry, TensorTable},
///     weights::OpenOptions,
/// };
/// use longshore_st_format::{Dtype, Layout, Shape};
///
/// # let dir = tempfile::tempdir()?;
/// # let root = dir.path().join("store");
/// let store = Store::open(root)?;
/// let name: ModelName = "demo:tiny".parse()?;
///
/// // One tensor: its blob is planned, then written, at any offsets.
/// let layout = Layout::new(&Default::default(), [("weight", Dtype::U8, Shape::new([3]))])?;
/// let ingest = store.ingest()?;
/// let mut blob = ingest.blob()?;
/// blob.write_at(layout.data_start(), &[7, 8, 9])?;
/// blob.write_at(0, layout.header())?;
/// let blob = blob.finish()?;
///
/// // The table records where the tensor lies.
/// let entry = BlobEntry::new(blob.digest, layout.parts().map(TensorEntry::plain).collect());
/// let table = TensorTable::new(Default::default(), Default::default(), vec![entry]);
/// let config = ingest.add(&Config::new(table).to_bytes())?;
///
/// // The manifest comes last, and all becomes durable at once.
/// ingest.commit(&name, &Manifest::new(Descriptor::config(config), vec![Descriptor::tensor("weight", blob)]))?;
///
/// let weights = Weights::open(&store, &store.model(&name)?, &OpenOptions::default())?;
/// assert_eq!(weights.get("weight").ok_or("it was stored above")?.weight().data, [7, 8, 9]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Order of writes
///
/// 1. Every blob is written to a temporary file of its own in `tmp/<unique>/`, and hashed while it is written. A line
///    in the import's lease records it, which keeps [`Store::gc`] and [`Store::remove`] from deleting it. A blob whose
///    digest and size the store already has is dropped.
/// 2. [`Ingest::commit`] writes the manifest to a temporary file, and syncs all temporary files: with a sync per file if
///    they are at most 16, else with one `syncfs` on Linux.
/// 3. The blobs that the manifest names are renamed to their digests. Once all of them are in place, `blobs/` is
///    synced.
/// 4. The directories above the manifest are created and synced, the manifest is renamed to its name, and its directory
///    is synced.
/// 5. Blobs are deleted that only the name's previous manifest reached, or that killed imports had brought in and
///    nobody needs.
///
/// A manifest that can be read therefore has all its blobs, whole and durable. A crash leaves the previous state or the
/// new one, and at most temporary files and unreferenced blobs. If an import is killed, the next import takes over what
/// was finished.
#[derive(Debug)]
pub struct Ingest<'s> {
    store: &'s Store,
    dir: PathBuf,
    lease: Lease,
    /// Directory of the import, opened before anything is written, because `syncfs` reports the write errors since
    /// then.
    handle: Option<File>,
    pub(super) pending: Mutex<HashMap<Digest, Pending>>,
    /// Layers of all models in the store by name and size, read when first needed.
    twins: OnceLock<HashMap<String, HashMap<u64, Digest>>>,
    leftovers: Leftovers,
    /// Blobs in the leases of dead owners. Those that nobody needs are deleted at the end.
    pub(super) orphans: Mutex<HashSet<Digest>>,
    files: AtomicU64,
}

/// A blob whose file is complete.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    /// Whether the stored blob of this digest is known to hold other bytes.
    pub(super) repairs: bool,
    /// Whether a killed import wrote the file.
    pub(super) is_taken_over: bool,
    /// Handle through which the file was written, of the first few.
    pub(super) file: Option<File>,
}

/// Reason why an import cannot continue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// The store belongs to another program.
    #[error(transparent)]
    Foreign(#[from] ForeignStore),
    /// The directories of the store lie on several file systems.
    #[error(transparent)]
    Split(#[from] Box<SplitStore>),
    /// The store has the name in another spelling.
    #[error(transparent)]
    Spelling(#[from] Box<SpellingError>),
    /// The manifest names a blob that was neither added nor stored before.
    #[error("the manifest names {digest} ({size} bytes), which is not in the store")]
    MissingBlob {
        /// Digest of the blob.
        digest: Digest,
        /// Size in the manifest, in bytes.
        size: u64,
    },
    /// The document is no manifest.
    #[error(transparent)]
    Document(#[from] crate::document::DocumentError),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// A blob that the import has added or found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Added {
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Whether the store, or this import, already had the blob.
    pub reused: bool,
    /// Digests of the blob's chunks, if it has more than one and its bytes were hashed.
    pub chunks: Option<Chunks>,
}

impl Added {
    /// Describes a new blob of `size` bytes, without digests of chunks.
    #[must_use]
    pub fn new(digest: Digest, size: u64) -> Self {
        Self { digest, size, reused: false, chunks: None }
    }

    /// Describes a blob that was there.
    pub(super) fn reused(digest: Digest, size: u64, chunks: Option<Chunks>) -> Self {
        Self { digest, size, reused: true, chunks }
    }
}

impl Store {
    /// Starts an import. Takes over the files of killed imports: finished blobs are used where they are [the right
    /// ones](Ingest::blob_like), and everything else is removed.
    ///
    /// # Errors
    ///
    /// [`IngestError::Foreign`] for a store of another program, [`IngestError::Split`] for a store on several file
    /// systems, [`IngestError::Fs`] if the store cannot be created or written to.
    pub fn ingest(&self) -> Result<Ingest<'_>, IngestError> {
        self.begin(true)
    }

    /// Starts an import. Without `take_over`, which imports without new blobs do not need, the files of killed imports
    /// stay.
    pub(super) fn begin(&self, take_over: bool) -> Result<Ingest<'_>, IngestError> {
        self.check_own()?;
        self.create()?;
        self.check_whole()?;
        let dir = self.create_temporary()?;
        let lease = match Lease::create(&self.disk, &dir) {
            Ok(lease) => lease,
            Err(error) => {
                // The earlier error is the one to report. A later import sweeps the directory.
                let _ = self.disk.remove_tree(&dir);
                return Err(error.into());
            }
        };
        let mut ingest = Ingest {
            store: self,
            lease,
            handle: None,
            dir,
            pending: Mutex::default(),
            twins: OnceLock::new(),
            leftovers: Leftovers::default(),
            orphans: Mutex::default(),
            files: AtomicU64::new(0),
        };
        #[cfg(unix)]
        {
            ingest.handle = Some(fs::open_dir(&ingest.dir).map_err(FsError::at("open", &ingest.dir))?);
        }
        if take_over {
            // Files that cannot be taken over stay for the next import. They are no reason to refuse this one.
            let taken = self.take_dead(&ingest.dir).unwrap_or_default();
            ingest.orphans = Mutex::new(self.orphans(&taken.paths));
            ingest.leftovers = Leftovers::of(&self.disk, &taken.paths).unwrap_or_default();
        }
        Ok(ingest)
    }

    /// Returns the free space for this store's files in bytes, or `None` if the system does not report it.
    #[must_use]
    pub fn available_bytes(&self) -> Option<u64> {
        let at = self.root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
        available(at)
    }
}

#[cfg(unix)]
fn available(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(if path.as_os_str().is_empty() { Path::new(".") } else { path }).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

#[cfg(not(unix))]
fn available(_path: &Path) -> Option<u64> {
    None
}

impl Ingest<'_> {
    /// Starts a new blob. Many blobs may be written at once, from many threads.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the temporary file cannot be created.
    pub fn blob(&self) -> Result<BlobWriter<'_>, FsError> {
        BlobWriter::new(self)
    }

    /// Starts a new blob of `size` bytes for a layer called `name`. If a model of the store has a layer of that name
    /// and size, or a killed import had finished one, the blobs are likely equal. Nothing is written as long as their
    /// bytes are.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the temporary file cannot be created.
    pub fn blob_like(&self, name: &str, size: u64) -> Result<BlobWriter<'_>, FsError> {
        let stored = self.twin(name, size).and_then(|digest| BlobWriter::beside(self, digest));
        let left = || self.leftovers.take(name, size).and_then(|path| BlobWriter::beside_leftover(self, path));
        let writer = stored.or_else(left).map_or_else(|| BlobWriter::new(self), Ok)?;
        Ok(writer.for_layer(name))
    }

    /// Whether the blob of a layer of this name and size is likely there already, so that it needs no space: a model of
    /// the store has such a layer with a blob of that size, or a killed import had finished such a blob.
    #[must_use]
    pub fn has_like(&self, name: &str, size: u64) -> bool {
        self.twin(name, size).is_some_and(|digest| fs::is_file_of(&self.store.blob_path(&digest), size))
            || self.leftovers.has(name, size)
    }

    /// Removes finished files of killed imports that belong to no wanted layer, to free their space while this import
    /// runs. `is_wanted` gets the layer's name and size in bytes. Without this call, the files are removed at the end.
    pub fn keep_leftovers(&self, is_wanted: impl Fn(&str, u64) -> bool) {
        for path in self.leftovers.take_others(is_wanted) {
            // Files that cannot be removed now are removed at the end, or by a later import.
            let _ = self.store.disk.remove_file(&path);
        }
    }

    /// Returns the blob of a layer of this name and size.
    fn twin(&self, name: &str, size: u64) -> Option<Digest> {
        let twins = self.twins.get_or_init(|| self.store.layers_by_name());
        twins.get(name)?.get(&size).copied()
    }

    pub(super) fn store(&self) -> &Store {
        self.store
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn handle(&self) -> Option<&File> {
        self.handle.as_ref()
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Returns a path for a temporary file that no other writer uses.
    pub(super) fn temporary(&self) -> PathBuf {
        self.dir.join(self.files.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Whether the store has a blob. From then on no process deletes the blob.
    pub(super) fn reuses(&self, digest: Digest, size: u64, layer: Option<&str>) -> Result<bool, FsError> {
        // The order matters: the lease first, then the check. See `Store::free`.
        self.lease.add([Line { name: layer.map(ToOwned::to_owned), ..Line::of(digest, size) }])?;
        self.store.holds(&digest, size)
    }

    /// Takes a complete temporary file, or drops it if the store already has the blob.
    ///
    /// The stored blob of the digest `damaged` is known to hold other bytes, and is replaced.
    pub(super) fn take(&self, file: Complete<'_>, damaged: Option<Digest>) -> Result<Added, FsError> {
        let Complete { path, file, digest, size, layer, is_taken_over, chunks } = file;
        let below = path.strip_prefix(&self.dir).ok().and_then(Path::to_str);
        // Two files of one blob are resolved under the lock, so their lines are written under it too.
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let reused = pending.contains_key(&digest) || {
            let name = layer.map(ToOwned::to_owned);
            let file = below.and_then(|below| RelativePath::parse(&below.replace(std::path::MAIN_SEPARATOR, "/")).ok());
            self.lease.add([Line { name, file, ..Line::of(digest, size) }])?;
            damaged != Some(digest) && self.store.holds(&digest, size)?
        };
        if reused {
            self.store.disk.remove_file(path)?;
        } else {
            let repairs = damaged == Some(digest);
            let file = file.filter(|_| pending.len() < fs::FEW_FILES);
            pending.insert(digest, Pending { path: path.to_path_buf(), size, repairs, is_taken_over, file });
        }
        Ok(Added { digest, size, reused, chunks })
    }

    /// Adds a blob of these bytes. If the store has a blob of their digest, its bytes are compared, and a damaged blob
    /// is replaced.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the blob cannot be written.
    pub fn add(&self, bytes: &[u8]) -> Result<Added, FsError> {
        let beside = BlobWriter::beside(self, Digest::of(bytes));
        let mut blob = beside.map_or_else(|| BlobWriter::new(self), Ok)?;
        blob.write_at(0, bytes)?;
        blob.finish()
    }
}

/// A complete temporary file.
#[derive(Debug)]
pub(super) struct Complete<'p> {
    pub(super) path: &'p Path,
    /// Handle through which it was written, if it is known.
    pub(super) file: Option<File>,
    pub(super) digest: Digest,
    /// Size in bytes.
    pub(super) size: u64,
    /// Name of the intended layer, if known.
    pub(super) layer: Option<&'p str>,
    /// Whether a killed import wrote the file.
    pub(super) is_taken_over: bool,
    /// Digests of its chunks, if it has more than one and they are known.
    pub(super) chunks: Option<Chunks>,
}

impl Store {
    /// Returns every layer of every readable model, by its name and size in bytes.
    fn layers_by_name(&self) -> HashMap<String, HashMap<u64, Digest>> {
        let mut layers: HashMap<String, HashMap<u64, Digest>> = HashMap::new();
        // A model that cannot be read is skipped, because this map only saves writing.
        for name in self.names().unwrap_or_default() {
            let Ok((_, manifest)) = self.read_manifest(&name) else { continue };
            for layer in manifest.layers {
                if let Some(name) = layer.name {
                    layers.entry(name).or_default().insert(layer.size, layer.digest);
                }
            }
        }
        layers
    }
}

impl Drop for Ingest<'_> {
    fn drop(&mut self) {
        // A destructor cannot report errors. `gc` deletes blobs that stay, and a later import sweeps temporaries. After
        // a commit nothing is left to free.
        let _ = self.free_unneeded(HashSet::new());
        self.lease.close();
        self.handle = None;
        let _ = self.store.discard(&self.dir);
    }
}
