//! The files that a pull would fetch, and the source that its model would be made of.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use longshore_manifest::{
    Digest, ModelName, Progress, RelativePath, Store,
    store::{Made, PullRecord},
};

use crate::{Hub, HubError, HubReference, Listed, Listing, PullOptions, Selection, cache, key};

/// The files that a pull would fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remote {
    /// The commit.
    pub commit: String,
    /// Paths and lengths of the chosen files; of a model in Ollama's registry, digests and lengths of its blobs.
    pub files: Vec<(String, u64)>,
    /// Bytes of these that are elsewhere, as far as is known before: none where the hub's cache alone is asked.
    pub missing_bytes: u64,
    /// The source that a store [notes](longshore_manifest::Store::note_made) for a model that is made of it.
    pub made: Made,
    /// Key of what is unfinished of the pull.
    pub(crate) key: Digest,
}

impl Remote {
    /// Asks the hub, or the hub's cache where only that may be asked, what a pull would fetch, and fetches nothing.
    ///
    /// # Errors
    ///
    /// As [`Hub::listing`]; [`HubError::Offline`]; [`HubError::Ambiguous`] and [`HubError::NoWeights`] if no one model is chosen.
    pub fn of(
        hub: &Hub,
        reference: &HubReference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Self, HubError> {
        if hub.options.offline {
            let cached = Cached::of(hub, reference)?;
            let files = cached.files(&options.selection, reference)?;
            let remote = Self::new(hub, reference, &cached.listing, &files, options);
            return Ok(Self { missing_bytes: 0, key: key::offline(&remote.made), ..remote });
        }
        let listing = hub.listing(reference, &|| progress.cancelled())?;
        let chosen = options.selection.of(&listing, &reference.to_string())?;
        Ok(Self::new(hub, reference, &listing, &chosen.files, options))
    }

    fn new(hub: &Hub, reference: &HubReference, listing: &Listing, files: &[&Listed], options: &PullOptions) -> Self {
        let made = made(hub, reference, listing, files, options);
        let files: Vec<_> = files.iter().map(|file| (file.path.to_string(), file.size)).collect();
        let missing_bytes = files.iter().map(|(_, size)| *size).sum();
        let key = key::unfinished(&made.key);
        Self { commit: listing.commit.clone(), files, missing_bytes, made, key }
    }

    /// Whether a pull of the same gives a model this name, and has not ended.
    #[must_use]
    pub fn is_unfinished(&self, store: &Store, name: &ModelName) -> bool {
        self.left(store).and_then(|dir| record(&dir)).is_some_and(|record| self.gives(&record, name))
    }

    fn gives(&self, record: &PullRecord, name: &ModelName) -> bool {
        record.reference == self.made.reference && record.name == *name
    }

    /// The directory that a pull of the same has left.
    fn left(&self, store: &Store) -> Option<PathBuf> {
        let prefix = format!("{}.", self.key.file_name());
        let mut entries = fs::read_dir(store.root().join("pulls")).ok()?.flatten();
        let entry = entries.find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))?;
        Some(entry.path())
    }

    /// Removes what a pull of the same left that was killed at its very end, when its model `name` was there already. One that gives another
    /// name stays.
    ///
    /// # Errors
    ///
    /// [`HubError::Pull`] if a process works on it, or its files cannot be removed.
    pub fn end(&self, store: &Store, name: &ModelName) -> Result<(), HubError> {
        let Some(left) = self.left(store) else { return Ok(()) };
        // One that was killed while it was removed may have no record any more.
        if record(&left).is_some_and(|record| !self.gives(&record, name)) {
            return Ok(());
        }
        let record = PullRecord::new(self.made.reference.clone(), name.clone(), self.bytes());
        Ok(store.pull(&self.key, &record)?.end()?)
    }

    /// Bytes of the chosen files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, size)| *size).sum()
    }
}

/// The source of a model that is imported from these files.
pub(crate) fn made(
    hub: &Hub,
    reference: &HubReference,
    listing: &Listing,
    files: &[&Listed],
    options: &PullOptions,
) -> Made {
    let key = key::of_hub(hub, listing, files, options);
    Made { key, reference: reference.to_string(), commit: listing.commit.clone() }
}

/// A snapshot of the hub's cache.
pub(crate) struct Cached {
    pub(crate) snapshot: PathBuf,
    pub(crate) listing: Listing,
    /// Places of the files.
    pub(crate) paths: HashMap<RelativePath, PathBuf>,
}

impl Cached {
    pub(crate) fn of(hub: &Hub, reference: &HubReference) -> Result<Self, HubError> {
        let Some(snapshot) = cache::snapshot(&hub.options, reference) else {
            let cache = hub.options.cache.clone().unwrap_or_default();
            return Err(HubError::Offline { reference: reference.to_string(), cache });
        };
        let commit = snapshot.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (listing, paths) = cache::listing(&snapshot, reference, &commit)?;
        Ok(Self { snapshot, listing, paths })
    }

    /// The files that a selection means: all, if it says nothing.
    pub(crate) fn files(&self, selection: &Selection, reference: &HubReference) -> Result<Vec<&Listed>, HubError> {
        if selection.texts().is_empty() {
            return Ok(self.listing.files.iter().collect());
        }
        Ok(selection.of(&self.listing, &reference.to_string())?.files)
    }
}

/// The record of a pull that has not ended, unless it has been removed already.
fn record(dir: &Path) -> Option<PullRecord> {
    serde_json::from_slice(&fs::read(dir.join("pull.json")).ok()?).ok()
}
