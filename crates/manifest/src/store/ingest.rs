//! Adding a model: blobs first, the manifest last, one sync for all.

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

use super::{BlobWriter, ForeignStore, Store, models::distinct_blobs, unique_name};
use crate::{Descriptor, Digest, FsError, Manifest, ModelName, fs};

/// A model that is being added. Dropped without [`Ingest::commit`], it leaves nothing behind.
///
/// # Order of writes
///
/// 1. Every blob goes to a temporary file of its own in `tmp/<unique>/`, hashed as it is written. One whose digest and
///    size the store already holds is dropped again.
/// 2. [`Ingest::commit`] writes the manifest to a temporary file too, and syncs all of them: with one `syncfs` on Linux,
///    with a sync per file elsewhere.
/// 3. The blobs that the manifest names are renamed to their digests, and `blobs/` is synced.
/// 4. The directories above the manifest are made and synced, the manifest is renamed to its name, and its directory is synced.
///
/// So a manifest that can be read has all its blobs, whole and durable; a crash leaves the previous state or the new one, and
/// at most temporary files and unreferenced blobs.
#[derive(Debug)]
pub struct Ingest<'s> {
    store: &'s Store,
    dir: PathBuf,
    /// Shared while blobs are added: nobody deletes blobs meanwhile.
    _lock: File,
    /// Opened before anything is written: `syncfs` reports the write errors since then.
    #[cfg(target_os = "linux")]
    dir_handle: File,
    pub(super) pending: Mutex<HashMap<Digest, Pending>>,
    /// The store's layers by name and size, read when first needed.
    twins: OnceLock<HashMap<String, HashMap<u64, Digest>>>,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    /// Whether the store's blob of this digest is known to hold other bytes.
    repairs: bool,
}

/// An import that cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// The store belongs to another program.
    #[error(transparent)]
    Foreign(#[from] ForeignStore),
    /// The manifest names a blob that was neither added nor there before.
    #[error("the manifest names {digest} ({size} bytes), which is not in the store")]
    MissingBlob {
        /// The blob.
        digest: Digest,
        /// The size that the manifest gives, in bytes.
        size: u64,
    },
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// A blob that is now known to the import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// The blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Whether the store, or this import, already had it.
    pub reused: bool,
}

/// What [`Ingest::commit`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The digest of the manifest document.
    pub digest: Digest,
    /// The number of blobs that the store did not hold before, or held damaged. One that another import has put there in the
    /// meantime is not new.
    pub new_blobs: usize,
    /// Their size in bytes.
    pub new_bytes: u64,
}

impl Store {
    /// Starts to add a model. Sweeps what killed imports have left, and takes a shared lock that keeps `gc` and `rm` from
    /// deleting blobs meanwhile.
    ///
    /// # Errors
    ///
    /// [`IngestError::Foreign`] for a store of another program, [`IngestError::Fs`] if the store cannot be made or written.
    pub fn ingest(&self) -> Result<Ingest<'_>, IngestError> {
        self.check_own()?;
        self.create()?;
        self.sweep();
        let lock = self.lock_file()?;
        lock.lock_shared().map_err(FsError::at("lock", &self.root))?;
        let dir = self.temporary().join(unique_name());
        std::fs::create_dir(&dir).map_err(FsError::at("create the directory", &dir))?;
        Ok(Ingest {
            store: self,
            _lock: lock,
            #[cfg(target_os = "linux")]
            dir_handle: fs::open_dir(&dir).map_err(FsError::at("open", &dir))?,
            dir,
            pending: Mutex::default(),
            twins: OnceLock::new(),
        })
    }

    /// The free space for this store's files, in bytes; `None` where the system does not say.
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
    /// A new blob, to be written and finished. Many may be written at once, from many threads.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the temporary file cannot be made.
    pub fn blob(&self) -> Result<BlobWriter<'_>, FsError> {
        BlobWriter::new(self)
    }

    /// A new blob of `size` bytes that is to be a layer called `name`. If a model of the store has a layer of that name and
    /// size, its blob is likely the same: then nothing is written while the bytes are equal.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the temporary file cannot be made.
    pub fn blob_like(&self, name: &str, size: u64) -> Result<BlobWriter<'_>, FsError> {
        match self.twin(name, size) {
            Some(digest) => BlobWriter::beside(self, digest),
            None => BlobWriter::new(self),
        }
    }

    /// Whether a blob of `size` bytes that is to be a layer called `name` is likely there already, so that it costs no room: a
    /// model of the store has a layer of that name and size, and its blob has that size too.
    #[must_use]
    pub fn has_like(&self, name: &str, size: u64) -> bool {
        self.twin(name, size).is_some_and(|digest| fs::is_file_of(&self.store.blob_path(&digest), size))
    }

    /// The blob of a layer of this name and size.
    fn twin(&self, name: &str, size: u64) -> Option<Digest> {
        let twins = self.twins.get_or_init(|| self.store.layers_by_name());
        twins.get(name)?.get(&size).copied()
    }

    pub(super) fn store(&self) -> &Store {
        self.store
    }

    /// A path for a temporary file that no other writer uses.
    pub(super) fn temporary(&self) -> PathBuf {
        self.dir.join(unique_name())
    }

    /// Takes over a complete temporary file, or drops it if the blob is there already.
    ///
    /// A blob of the store with the digest `damaged` is known to hold other bytes: it is not trusted but replaced.
    pub(super) fn take(
        &self,
        path: &Path,
        digest: Digest,
        size: u64,
        damaged: Option<Digest>,
    ) -> Result<Added, FsError> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let reused = pending.contains_key(&digest) || damaged != Some(digest) && self.store.holds(&digest, size);
        if reused {
            fs::remove_file(path)?;
        } else {
            pending.insert(digest, Pending { path: path.to_path_buf(), size, repairs: damaged == Some(digest) });
        }
        Ok(Added { digest, size, reused })
    }

    /// Adds a blob of these bytes. A blob that the store has under their digest is compared with them, and replaced if it is
    /// damaged.
    ///
    /// # Errors
    ///
    /// [`FsError`] if it cannot be written.
    pub fn add(&self, bytes: &[u8]) -> Result<Added, FsError> {
        let mut blob = BlobWriter::beside(self, Digest::of(bytes))?;
        blob.write_at(0, bytes)?;
        blob.finish()
    }

    /// Makes the blobs durable and points `name` at them. Blobs that were added and that the manifest does not name are dropped.
    ///
    /// # Errors
    ///
    /// [`IngestError::MissingBlob`] if the manifest names a blob that was not added, [`IngestError::Fs`] for anything that the
    /// file system refuses. Every name then points at what it did before; blobs that no name reaches may be left for
    /// [`Store::gc`].
    pub fn commit(self, name: &ModelName, manifest: &Manifest) -> Result<Committed, IngestError> {
        self.commit_document(name, manifest, &manifest.to_bytes())
    }

    /// Commits `document`, of which `manifest` is the meaning.
    pub(super) fn commit_document(
        self,
        name: &ModelName,
        manifest: &Manifest,
        document: &[u8],
    ) -> Result<Committed, IngestError> {
        let mut pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        let named = distinct_blobs(manifest);
        pending.retain(|digest, _| named.contains_key(digest));
        for Descriptor { digest, size, .. } in manifest.blobs() {
            let known = pending.get(digest).is_some_and(|blob| blob.size == *size) || self.store.holds(digest, *size);
            if !known {
                return Err(IngestError::MissingBlob { digest: *digest, size: *size });
            }
        }
        let target = self.store.manifest_path(name);
        let temporary = self.dir.join("manifest");
        std::fs::write(&temporary, document).map_err(FsError::at("write to", &temporary))?;

        self.sync(pending.values().map(|blob| blob.path.as_path()).chain([temporary.as_path()]))?;
        let (mut new_blobs, mut new_bytes) = (0, 0_u64);
        for (digest, blob) in &pending {
            let target = self.store.blob_path(digest);
            if blob.repairs || !fs::is_file_of(&target, blob.size) {
                new_blobs += 1;
                new_bytes = new_bytes.saturating_add(blob.size);
            }
            fs::rename(&blob.path, &target)?;
        }
        fs::sync_dir(&self.store.blobs())?;
        place(&temporary, &target)?;
        Ok(Committed { digest: Digest::of(document), new_blobs, new_bytes })
    }

    /// One system call for any number of files.
    #[cfg(target_os = "linux")]
    pub(super) fn sync<'p>(&self, _files: impl Iterator<Item = &'p Path>) -> Result<(), FsError> {
        rustix::fs::syncfs(&self.dir_handle).map_err(|error| FsError::at("sync", &self.dir)(error.into()))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn sync<'p>(&self, files: impl Iterator<Item = &'p Path>) -> Result<(), FsError> {
        for path in files {
            fs::open(path)?.sync_all().map_err(FsError::at("sync", path))?;
        }
        fs::sync_dir(&self.dir)
    }
}

/// Renames a manifest to its name, durably.
fn place(temporary: &Path, target: &Path) -> Result<(), FsError> {
    let parent = target.parent().expect("a manifest's path has four segments");
    let attempt = || {
        fs::create_dir_all(parent)?;
        // Whoever made them may not have synced them yet: the model's, the namespace's, the host's and `manifests`.
        parent.ancestors().take(4).try_for_each(fs::sync_dir)?;
        fs::rename(temporary, target)
    };
    let mut left = 16;
    loop {
        match attempt() {
            // The removal of another name takes directories away that are empty, until there is a manifest in them.
            Err(error) if error.kind() == io::ErrorKind::NotFound && left > 0 => left -= 1,
            other => break other?,
        }
    }
    match fs::sync_dir(parent) {
        // The name has been removed again.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Store {
    /// Every layer of every readable model, by its name and size in bytes.
    fn layers_by_name(&self) -> HashMap<String, HashMap<u64, Digest>> {
        let mut layers: HashMap<String, HashMap<u64, Digest>> = HashMap::new();
        // This only saves writing: a model that cannot be read is reported by those who need it.
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

    /// Whether there is a blob of this digest with the right size, and if so, marks it as used now.
    pub(super) fn holds(&self, digest: &Digest, size: u64) -> bool {
        let path = self.blob_path(digest);
        if !fs::is_file_of(&path, size) {
            return false;
        }
        // Only a hint to whoever looks for blobs that nobody uses; a read-only file of another user keeps its time.
        if let Ok(file) = fs::open(&path) {
            let _ = file.set_modified(std::time::SystemTime::now());
        }
        true
    }
}

impl Drop for Ingest<'_> {
    fn drop(&mut self) {
        // Nothing here can be reported; what stays is swept by a later import.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
