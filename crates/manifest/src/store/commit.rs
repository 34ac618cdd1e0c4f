//! Commit of an import: one sync for all files, then the blobs' names, then the manifest's name.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    path::Path,
    sync::PoisonError,
};

use super::{
    GcError, Ingest, IngestError, ModelError, Store, ingest::Pending, lease::Line, models::distinct_blobs,
    remove::Removed,
};
use crate::{
    Digest, FsError, Manifest, ModelName, Silent,
    fs::{self, Disk},
};

/// Result of [`Ingest::commit`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Committed {
    /// Digest of the manifest document.
    pub digest: Digest,
    /// Number of written blobs. The store lacked them before, or held them damaged. A blob that another import has
    /// stored in the meantime is not new.
    pub new_blobs: usize,
    /// Size of the new blobs in bytes.
    pub new_bytes: u64,
    /// Number of blobs that the store already held or that a killed import had written. Each blob counts once. Reused
    /// and new blobs together are all blobs of the manifest.
    pub reused_blobs: usize,
    /// Size of the reused blobs in bytes.
    pub reused_bytes: u64,
    /// Number of reused blobs that a killed import had written and this import only compared.
    pub taken_over_blobs: usize,
    /// Size of the blobs that were taken over, in bytes.
    pub taken_over_bytes: u64,
    /// Number of deleted blobs that nobody needs any more: blobs of the name's previous manifest, and blobs that killed
    /// imports had brought into the store.
    pub freed_blobs: usize,
    /// Size of the deleted blobs in bytes.
    pub freed_bytes: u64,
    /// Error because of which such blobs were left for a later [`Store::gc`]. The name points at the manifest in any
    /// case.
    pub left: Option<GcError>,
}

impl Committed {
    /// Makes the result of a commit that wrote and reused nothing. `digest` is that of the manifest document.
    #[must_use]
    pub fn new(digest: Digest) -> Self {
        Self {
            digest,
            new_blobs: 0,
            new_bytes: 0,
            reused_blobs: 0,
            reused_bytes: 0,
            taken_over_blobs: 0,
            taken_over_bytes: 0,
            freed_blobs: 0,
            freed_bytes: 0,
            left: None,
        }
    }
}

/// Blobs that a name no longer reaches, or why they are not known.
type Replaced = Result<HashSet<Digest>, GcError>;

impl Ingest<'_> {
    /// Makes the blobs durable and points `name` at them. Added blobs that the manifest does not name are dropped.
    /// Blobs that only the previous manifest of `name` reached are deleted, as by [`Store::remove`].
    ///
    /// # Errors
    ///
    /// [`IngestError::MissingBlob`] if the manifest names a blob that was not added, [`IngestError::Fs`] if a file
    /// operation fails. After an error every name points at the same manifest as before, unless the very last sync
    /// failed, and blobs that only this import needed are removed.
    pub fn commit(self, name: &ModelName, manifest: &Manifest) -> Result<Committed, IngestError> {
        self.commit_document(name, manifest, &manifest.to_bytes())
    }

    /// Commits a manifest byte for byte, so that the model has the digest of `document`.
    ///
    /// # Errors
    ///
    /// As [`Self::commit`]; [`IngestError::Document`] if the document is no manifest.
    pub fn commit_bytes(self, name: &ModelName, document: &[u8]) -> Result<Committed, IngestError> {
        let manifest = Manifest::parse(document)?;
        self.commit_document(name, &manifest, document)
    }

    /// Commits `document`, whose parsed form is `manifest`.
    pub(super) fn commit_document(
        self,
        name: &ModelName,
        manifest: &Manifest,
        document: &[u8],
    ) -> Result<Committed, IngestError> {
        self.store().check_spelling(name)?;
        let target = self.store().manifest_path(name);
        let mut placed = Vec::new();
        match self.carry_out(name, manifest, document, &mut placed) {
            Ok((mut done, replaced)) => {
                let (replaced, unreadable) = match replaced {
                    Ok(replaced) => (replaced, None),
                    Err(error) => (HashSet::new(), Some(error)),
                };
                match self.free_unneeded(replaced) {
                    Ok(freed) => {
                        (done.freed_blobs, done.freed_bytes) = (freed.blobs.len(), freed.bytes());
                        done.left = unreadable.or(freed.left);
                    }
                    Err(error) => done.left = Some(unreadable.unwrap_or(error)),
                }
                Ok(done)
            }
            Err(error) => {
                // The earlier error is the one to report. `gc` deletes what stays.
                let _ = self.store().remove_empty_parents(&target);
                let _ = self.store().free(&placed, Some(self.dir()), |_| true, &Silent);
                Err(error)
            }
        }
    }

    /// Deletes `blobs`, and the blobs in the leases of dead owners, unless a name reaches them or another import needs
    /// them.
    pub(super) fn free_unneeded(&self, mut blobs: HashSet<Digest>) -> Result<Removed, GcError> {
        blobs.extend(self.orphans.lock().unwrap_or_else(PoisonError::into_inner).drain());
        if blobs.is_empty() { Ok(Removed::default()) } else { self.store().free_unnamed(blobs, Some(self.dir())) }
    }

    /// Adds lines to the lease for the blobs that `name` reaches and `kept` lacks. If this import is killed after it
    /// has placed its manifest, the next import deletes these blobs. The inner error is that of a manifest that cannot
    /// be read, so that its blobs are not known.
    fn list_replaced(&self, name: &ModelName, kept: &HashMap<Digest, u64>) -> Result<Replaced, FsError> {
        let manifest = match self.store().read_manifest(name) {
            Ok((_, manifest)) => manifest,
            Err(ModelError::NotFound { .. }) => return Ok(Ok(HashSet::new())),
            Err(source) => return Ok(Err(GcError::Unreadable { name: Box::new(name.clone()), source })),
        };
        let mut replaced = distinct_blobs(&manifest);
        replaced.retain(|digest, _| !kept.contains_key(digest));
        self.lease().add(replaced.iter().map(|(&digest, &size)| Line::of(digest, size)))?;
        Ok(Ok(replaced.into_keys().collect()))
    }

    /// Performs the commit. Adds the blobs that it brings into the store to `placed`. Also returns the blobs that
    /// `name` no longer reaches.
    fn carry_out(
        &self,
        name: &ModelName,
        manifest: &Manifest,
        document: &[u8],
        placed: &mut Vec<(Digest, u64)>,
    ) -> Result<(Committed, Replaced), IngestError> {
        let store = self.store();
        let named = distinct_blobs(manifest);
        let mut pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        pending.retain(|digest, _| named.contains_key(digest));
        self.check_stored(manifest, &pending)?;
        let temporary = self.dir().join("manifest");
        let file = store.disk.write_new(&temporary, document)?;
        self.sync(&pending, Some((&temporary, Some(&file))))?;
        // Windows renames no open file.
        drop(file);
        for blob in pending.values_mut() {
            blob.file = None;
        }

        let mut done = Committed {
            reused_blobs: named.len(),
            reused_bytes: named.values().fold(0, |sum, size| sum.saturating_add(*size)),
            ..Committed::new(Digest::of(document))
        };
        for (digest, blob) in &pending {
            let target = store.blob_path(digest);
            let is_new = !fs::is_file_of(&target, blob.size);
            if (is_new || blob.repairs) && blob.is_taken_over {
                done.taken_over_blobs += 1;
                done.taken_over_bytes = done.taken_over_bytes.saturating_add(blob.size);
            } else if is_new || blob.repairs {
                done.new_blobs += 1;
                done.new_bytes = done.new_bytes.saturating_add(blob.size);
                done.reused_blobs -= 1;
                done.reused_bytes = done.reused_bytes.saturating_sub(blob.size);
            }
            store.disk.rename(&blob.path, &target)?;
            if is_new {
                placed.push((*digest, blob.size));
            }
        }
        // A `gc` that read the leases before this import wrote its lines may have moved a blob, and may be about to put
        // it back.
        for (&digest, &size) in &named {
            if !store.rescue(&digest, size)? {
                return Err(IngestError::MissingBlob { digest, size });
            }
        }
        // This sync includes blobs that were put back, and blobs that another import has renamed but not yet synced.
        store.disk.sync_dir(&store.blobs())?;
        let replaced = self.list_replaced(name, &named)?;
        place(&store.disk, &temporary, &store.manifest_path(name))?;
        Ok((done, replaced))
    }

    /// Checks that every blob of the manifest is stored or pending, with the size that the manifest gives.
    fn check_stored(&self, manifest: &Manifest, pending: &HashMap<Digest, Pending>) -> Result<(), IngestError> {
        let mut seen = HashSet::new();
        let mut stored = Vec::new();
        for blob in manifest.blobs().filter(|blob| seen.insert((blob.digest, blob.size))) {
            match pending.get(&blob.digest) {
                Some(known) if known.size == blob.size => {}
                Some(_) => return Err(IngestError::MissingBlob { digest: blob.digest, size: blob.size }),
                None => stored.push(blob),
            }
        }
        let line = |blob: &&crate::Descriptor| Line { name: blob.name.clone(), ..Line::of(blob.digest, blob.size) };
        self.lease().add(stored.iter().map(line))?;
        for blob in stored {
            if !self.store().holds(&blob.digest, blob.size)? && !self.store().rescue(&blob.digest, blob.size)? {
                return Err(IngestError::MissingBlob { digest: blob.digest, size: blob.size });
            }
        }
        Ok(())
    }

    /// Makes the files of `pending` durable, and `manifest`, which is its path and handle.
    pub(super) fn sync(
        &self,
        pending: &HashMap<Digest, Pending>,
        manifest: Option<(&Path, Option<&File>)>,
    ) -> Result<(), FsError> {
        let disk = &self.store().disk;
        let files = pending.values().map(|blob| (blob.path.as_path(), blob.file.as_ref())).chain(manifest);
        disk.sync_files(self.handle(), self.dir(), files)?;
        // A disk error from before this import started is only reported to the first process that syncs the file
        // itself. The bytes of these files are on the disk by now, so the syncs cost little.
        pending.values().filter(|blob| blob.is_taken_over).try_for_each(|blob| disk.sync_file(&blob.path))
    }
}

/// Renames a manifest to its name, durably.
fn place(disk: &Disk, temporary: &Path, target: &Path) -> Result<(), FsError> {
    let parent = target.parent().expect("a manifest's path has four segments");
    let attempt = || {
        disk.create_dir_all(parent)?;
        // Syncs the directories of the model, namespace and host, and `manifests`, because the process that created
        // them may not have synced them yet.
        parent.ancestors().take(4).try_for_each(|dir| disk.sync_dir(dir))?;
        disk.rename(temporary, target)
    };
    let mut left = 16;
    loop {
        match attempt() {
            // The removal of another name removes empty directories until there is a manifest in them.
            Err(error) if error.kind() == io::ErrorKind::NotFound && left > 0 && temporary.exists() => left -= 1,
            other => break other?,
        }
    }
    match disk.sync_dir(parent) {
        // The name was removed again.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Store {
    /// Whether the store has a blob of this digest with the right size. If so, marks the blob as used now. A place that
    /// cannot be looked at is an error.
    pub(super) fn holds(&self, digest: &Digest, size: u64) -> Result<bool, FsError> {
        let path = self.blob_path(digest);
        if !fs::has_file_of(&path, size)? {
            return Ok(false);
        }
        // The time is only a hint for processes that look for unused blobs, and a read-only file of another user keeps
        // its time. The blob is looked up again because it may have been moved before it had the new time.
        let _ = self.disk.set_modified(&path, std::time::SystemTime::now());
        fs::has_file_of(&path, size)
    }
}
