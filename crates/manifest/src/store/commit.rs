//! Committing: one sync for all, then the blobs' names, then the manifest's.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::Path,
    sync::PoisonError,
};

use super::{
    GcError, Ingest, IngestError, Store, ingest::Pending, lease::Line, models::distinct_blobs, remove::Removed,
};
use crate::{
    Digest, FsError, Manifest, ModelName,
    fs::{self, Disk},
};

/// Outcome of [`Ingest::commit`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Committed {
    /// The digest of the manifest document.
    pub digest: Digest,
    /// The number of blobs that were written: the store did not hold them before, or held them damaged. One that another import
    /// has put there in the meantime is not new.
    pub new_blobs: usize,
    /// Their size in bytes.
    pub new_bytes: u64,
    /// The number of blobs that the store held already or that a killed import had written, each counted once. These and the new
    /// ones are all that the manifest names.
    pub reused_blobs: usize,
    /// Their size in bytes.
    pub reused_bytes: u64,
    /// The number of those reused blobs that a killed import had written, so that this one only compared them.
    pub taken_over_blobs: usize,
    /// Their size in bytes.
    pub taken_over_bytes: u64,
    /// The number of blobs that are deleted since nobody needs them any more: those of what the name was before, and those that
    /// killed imports had brought into the store.
    pub freed_blobs: usize,
    /// Their size in bytes.
    pub freed_bytes: u64,
    /// Why such blobs were left for a later [`Store::gc`], if they were. The name points at the manifest all the same.
    pub left: Option<GcError>,
}

impl Committed {
    /// The commit of a manifest document with this digest, which wrote and reused nothing.
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

impl Ingest<'_> {
    /// Makes the blobs durable and points `name` at them. Blobs that were added and that the manifest does not name are dropped.
    /// Blobs that only the name's manifest before this one reached are deleted, as [`Store::remove`] does it.
    ///
    /// # Errors
    ///
    /// [`IngestError::MissingBlob`] if the manifest names a blob that was not added, [`IngestError::Fs`] for anything that the
    /// file system refuses. Every name then points at what it did before, unless it was the very last sync that failed, and
    /// blobs that only this import needed are removed again.
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
        self.store().check_spelling(name)?;
        let target = self.store().manifest_path(name);
        let mut placed = Vec::new();
        match self.carry_out(name, manifest, document, &mut placed) {
            Ok((mut done, replaced)) => {
                match self.free_unneeded(replaced) {
                    Ok(freed) => (done.freed_blobs, done.freed_bytes) = (freed.blobs.len(), freed.bytes()),
                    Err(error) => done.left = Some(error),
                }
                Ok(done)
            }
            Err(error) => {
                // This error is the one to report; `gc` deletes what stays.
                let _ = self.store().remove_empty_parents(&target);
                let _ = self.store().free(&placed, Some(self.dir()), |_| true);
                Err(error)
            }
        }
    }

    /// Deletes those of these blobs, and of what dead owners' leases list, that no name reaches and no other import needs.
    pub(super) fn free_unneeded(&self, mut blobs: HashSet<Digest>) -> Result<Removed, GcError> {
        blobs.extend(self.orphans.lock().unwrap_or_else(PoisonError::into_inner).drain());
        if blobs.is_empty() { Ok(Removed::default()) } else { self.store().free_unnamed(blobs, Some(self.dir())) }
    }

    /// Lists the blobs in the lease that `name` reaches and `kept` does not have: should this import be killed once it has placed
    /// its manifest, the next one deletes them.
    fn list_replaced(&self, name: &ModelName, kept: &HashMap<Digest, u64>) -> Result<HashSet<Digest>, FsError> {
        // The blobs of a manifest that cannot be read are not known.
        let Ok((_, manifest)) = self.store().read_manifest(name) else { return Ok(HashSet::new()) };
        let mut replaced = distinct_blobs(&manifest);
        replaced.retain(|digest, _| !kept.contains_key(digest));
        self.lease().add(replaced.iter().map(|(&digest, &size)| Line { digest, size, name: None, file: None }))?;
        Ok(replaced.into_keys().collect())
    }

    /// Notes in `placed` which blobs it has brought into the store. Returns those that the name does not reach any more, too.
    fn carry_out(
        &self,
        name: &ModelName,
        manifest: &Manifest,
        document: &[u8],
        placed: &mut Vec<(Digest, u64)>,
    ) -> Result<(Committed, HashSet<Digest>), IngestError> {
        let store = self.store();
        let named = distinct_blobs(manifest);
        let mut pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        pending.retain(|digest, _| named.contains_key(digest));
        self.check_stored(manifest, &pending)?;
        let temporary = self.dir().join("manifest");
        store.disk.write_new(&temporary, document)?;
        self.sync(&pending, Some(&temporary))?;

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
        // A `gc` that began before this import's lease had its lines may have moved a blob, and be about to put it back.
        for (&digest, &size) in &named {
            if !store.rescue(&digest, size)? {
                return Err(IngestError::MissingBlob { digest, size });
            }
        }
        // This covers blobs that were put back, and those that another import has renamed and not yet synced.
        store.disk.sync_dir(&store.blobs())?;
        let replaced = self.list_replaced(name, &named)?;
        place(&store.disk, &temporary, &store.manifest_path(name))?;
        Ok((done, replaced))
    }

    /// Makes sure that what the manifest names is there or pending, with the size that it gives.
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
        let line = |blob: &&crate::Descriptor| Line {
            digest: blob.digest,
            size: blob.size,
            name: blob.name.clone(),
            file: None,
        };
        self.lease().add(stored.iter().map(line))?;
        for blob in stored {
            if !self.store().holds(&blob.digest, blob.size) && !self.store().rescue(&blob.digest, blob.size)? {
                return Err(IngestError::MissingBlob { digest: blob.digest, size: blob.size });
            }
        }
        Ok(())
    }

    pub(super) fn sync(&self, pending: &HashMap<Digest, Pending>, manifest: Option<&Path>) -> Result<(), FsError> {
        let disk = &self.store().disk;
        let files = pending.values().map(|blob| blob.path.as_path()).chain(manifest);
        disk.sync_files(self.handle(), self.dir(), files)?;
        // An error of the disk that came up before this import began is told to whoever syncs the file itself first. Their
        // bytes are on the disk by now, so this costs little.
        pending.values().filter(|blob| blob.is_taken_over).try_for_each(|blob| disk.sync_file(&blob.path))
    }
}

/// Renames a manifest to its name, durably.
fn place(disk: &Disk, temporary: &Path, target: &Path) -> Result<(), FsError> {
    let parent = target.parent().expect("a manifest's path has four segments");
    let attempt = || {
        disk.create_dir_all(parent)?;
        // Whoever made them may not have synced them yet: the model's, the namespace's, the host's and `manifests`.
        parent.ancestors().take(4).try_for_each(|dir| disk.sync_dir(dir))?;
        disk.rename(temporary, target)
    };
    let mut left = 16;
    loop {
        match attempt() {
            // The removal of another name takes directories away that are empty, until there is a manifest in them.
            Err(error) if error.kind() == io::ErrorKind::NotFound && left > 0 && temporary.exists() => left -= 1,
            other => break other?,
        }
    }
    match disk.sync_dir(parent) {
        // The name has been removed again.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Store {
    /// Whether there is a blob of this digest with the right size, and if so, marks it as used now.
    pub(super) fn holds(&self, digest: &Digest, size: u64) -> bool {
        let path = self.blob_path(digest);
        if !fs::is_file_of(&path, size) {
            return false;
        }
        // Only a hint to whoever looks for blobs that nobody uses; a read-only file of another user keeps its time. It is looked at
        // again as it may have been moved before it had the new time.
        let _ = self.disk.set_modified(&path, std::time::SystemTime::now());
        fs::is_file_of(&path, size)
    }
}
