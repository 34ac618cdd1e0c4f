//! Records of models beside their documents: what each was made of elsewhere, and where it lies elsewhere. The model does not depend on its
//! record: a model that is imported from a directory has the same digest as one that was pulled.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::{ForeignStore, Store, owner::unique_name};
use crate::{Digest, FsError, fs};

/// Most entries of each kind that a record keeps: the last ones.
const KEPT: usize = 16;
/// Longest record that is read, in bytes.
const MAX: u64 = 4 << 20;
/// Most digests of layers that a place has: more than any artifact of a model.
const MAX_LAYERS: usize = 2000;

/// The record of one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Origins {
    /// Version of the record's form, always 1.
    pub version: u32,
    /// Sources that it was made of, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<Made>,
    /// Places where it lies, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
}

impl Default for Origins {
    fn default() -> Self {
        Self { version: 1, made: Vec::new(), places: Vec::new() }
    }
}

/// A source elsewhere that a model was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Digest of all that decides about the result: the source's commit, the chosen files and the options.
    pub key: Digest,
    /// The source, as the user wrote it.
    pub reference: String,
    /// The commit of the source, or the digest of its manifest.
    pub commit: String,
}

/// A repository of a registry that has a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Host and port of the registry.
    pub registry: String,
    /// The repository.
    pub repository: String,
    /// Digests of the artifact's layers.
    pub layers: Vec<Digest>,
}

impl Store {
    fn origins_dir(&self) -> PathBuf {
        self.root.join("origins")
    }

    fn origins_path(&self, model: &Digest) -> PathBuf {
        self.origins_dir().join(model.file_name())
    }

    /// The record of the model with this digest: nothing, if nobody noted anything, or the record cannot be read.
    #[must_use]
    pub fn origins(&self, model: &Digest) -> Origins {
        let bytes = fs::read_at_most(&self.origins_path(model), MAX).ok().and_then(Result::ok);
        let record: Option<Origins> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        record.filter(|record| record.version == 1).unwrap_or_default()
    }

    /// Notes what a model was made of.
    ///
    /// # Errors
    ///
    /// [`OriginsError`] if the record cannot be written. The model is none the worse for it.
    pub fn note_made(&self, model: &Digest, made: Made) -> Result<(), OriginsError> {
        self.note(model, |record| {
            record.made.retain(|other| other.key != made.key);
            record.made.push(made);
        })
    }

    /// Notes where a model lies.
    ///
    /// # Errors
    ///
    /// [`OriginsError`] if the record cannot be written. The model is none the worse for it.
    pub fn note_place(&self, model: &Digest, mut place: Place) -> Result<(), OriginsError> {
        place.layers.truncate(MAX_LAYERS);
        self.note(model, |record| {
            let is_other = |other: &Place| (&other.registry, &other.repository) != (&place.registry, &place.repository);
            record.places.retain(is_other);
            record.places.push(place);
        })
    }

    /// The repositories of a registry that have models of this store, as far as is known.
    #[must_use]
    pub fn places(&self, registry: &str) -> Vec<Place> {
        let known = fs::entries(&self.origins_dir()).unwrap_or_default();
        let models = known.into_iter().filter_map(|(name, _)| Digest::from_file_name(&name));
        let places = models.flat_map(|model| self.origins(&model).places);
        places.filter(|place| place.registry == registry).collect()
    }

    /// Changes a record, at once. Of two processes that do so, the last one wins: the other's note is lost, which costs a transfer.
    fn note(&self, model: &Digest, change: impl FnOnce(&mut Origins)) -> Result<(), OriginsError> {
        self.check_own()?;
        let before = self.origins(model);
        let mut record = before.clone();
        change(&mut record);
        record.made.drain(..record.made.len().saturating_sub(KEPT));
        record.places.drain(..record.places.len().saturating_sub(KEPT));
        if record == before {
            return Ok(());
        }
        let mut bytes = serde_json::to_vec(&record).expect("texts and numbers serialize");
        bytes.push(b'\n');
        let dir = self.origins_dir();
        for changed in self.disk.create_dir_all(&dir)? {
            self.disk.sync_dir(&changed)?;
        }
        let temporary = dir.join(format!("{}.new", unique_name()));
        let written = self.disk.write_new(&temporary, &bytes).and_then(|_| {
            self.disk.sync_file(&temporary)?;
            self.disk.rename(&temporary, &self.origins_path(model))?;
            self.disk.sync_dir(&dir)
        });
        if written.is_err() {
            // The earlier error is the one to report. `gc` removes what stays.
            let _ = self.disk.remove_file(&temporary);
        }
        Ok(written?)
    }

    /// Removes the records of models that no name reaches, and what killed processes left.
    pub(super) fn drop_origins(&self) -> Result<(), FsError> {
        let dir = self.origins_dir();
        // Records are listed before names: one that is created in between is not looked at.
        let found = fs::entries(&dir)?;
        if found.is_empty() {
            return Ok(());
        }
        let models = self.named()?;
        self.disk.between_reads();
        let mut aside = Vec::new();
        let mut result = Ok(());
        for (name, _) in found {
            let path = dir.join(&name);
            result = match Digest::from_file_name(&name) {
                Some(model) if models.contains(&model) => Ok(()),
                Some(model) => self.put_aside(&path).map(|moved| aside.extend(moved.map(|moved| (model, path, moved)))),
                None if is_new(&path) => Ok(()),
                None => self.disk.remove_file(&path),
            };
            if result.is_err() {
                break;
            }
        }
        if aside.is_empty() {
            return result;
        }
        // A model may have been stored, and noted in its old record, since the names were read. One that is noted from now on gets a new
        // record. Where the names cannot be read again, every record goes back.
        let models = self.named();
        for (model, path, moved) in aside {
            let goes_back = models.as_ref().map_or(true, |models| models.contains(&model));
            let back = if goes_back { unless_absent(self.disk.rename_new(&moved, &path)) } else { Ok(Some(false)) };
            let done =
                back.and_then(|is_back| if is_back == Some(false) { self.disk.remove_file(&moved) } else { Ok(()) });
            result = result.and(done);
        }
        models.and(result)
    }

    /// Renames a record, so that whoever notes something from now on makes a new one. Returns its new path, unless it is gone.
    fn put_aside(&self, path: &Path) -> Result<Option<PathBuf>, FsError> {
        // Another collection removes what killed processes left, which it tells by its age.
        unless_absent(self.disk.set_modified(path, SystemTime::now()))?;
        let moved = self.origins_dir().join(format!("{}.old", unique_name()));
        Ok(unless_absent(self.disk.rename(path, &moved))?.map(|()| moved))
    }

    /// The digests of all models that have a name.
    fn named(&self) -> Result<HashSet<Digest>, FsError> {
        // A manifest that cannot be read, or is gone by now, has no record that anybody would miss.
        let digest = |name| self.read_manifest_bytes(&name).ok().map(|bytes| Digest::of(&bytes));
        Ok(self.names()?.into_iter().filter_map(digest).collect())
    }
}

/// Nothing, if a file is gone by now.
fn unless_absent<T>(done: Result<T, FsError>) -> Result<Option<T>, FsError> {
    match done {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Whether a process may still be writing a file.
fn is_new(path: &Path) -> bool {
    let modified = path.metadata().and_then(|found| found.modified());
    modified.is_ok_and(|time| time.elapsed().unwrap_or_default().as_secs() < 60 * 60)
}

/// Reason why a record of a model's origins cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OriginsError {
    /// The store belongs to another program.
    #[error(transparent)]
    Foreign(#[from] ForeignStore),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}
