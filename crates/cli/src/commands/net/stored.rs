//! The model that has the name of a pull already.

use longshore_manifest::{Digest, Manifest, ModelName, Store, store::Made};

use super::{fetch::Ahead, reference::Place};
use crate::advice::Advice;

/// The owner of a name.
pub(super) struct There {
    /// None if its manifest cannot be read.
    model: Option<Stored>,
    /// Sources elsewhere that it was made of.
    made: Vec<Made>,
    /// Whether a pull of the same reference gives it the name, and has not ended.
    pub(super) is_unfinished: bool,
}

/// A model that can be read.
pub(super) struct Stored {
    pub(super) digest: Digest,
    manifest: Manifest,
}

impl There {
    /// Looks for what has the name; none if nothing has.
    pub(super) fn of(place: &Place, name: &ModelName, store: &Store) -> Option<Self> {
        if !store.manifest_path(name).exists() {
            return None;
        }
        let model = store.manifest(name).ok().map(|(digest, manifest)| Stored { digest, manifest });
        let made = model.as_ref().map(|model| store.origins(&model.digest).made).unwrap_or_default();
        let reference = place.to_string();
        let pulls = store.pulls().unwrap_or_default();
        let is_unfinished = pulls.iter().any(|pull| pull.record.reference == reference && pull.record.name == *name);
        Some(Self { model, made, is_unfinished })
    }

    /// The model, if it is what a pull would bring.
    pub(super) fn same(&self, ahead: &Ahead) -> Option<&Stored> {
        let is_same = |model: &&Stored| match &ahead.remote {
            Some(remote) => self.made.iter().any(|known| known.key == remote.made.key),
            None => ahead.digest == Some(model.digest),
        };
        self.model.as_ref().filter(is_same)
    }

    /// Whether an unfinished pull of the same gives it the name. One from a hub with other options would make another model.
    pub(super) fn goes_on(&self, ahead: &Ahead, name: &ModelName, store: &Store) -> bool {
        self.is_unfinished && ahead.remote.as_ref().is_none_or(|remote| remote.is_unfinished(store, name))
    }

    /// Says that a name which the user did not write is taken, and by what.
    pub(super) fn taken(&self, place: &Place, name: &ModelName, ahead: &Ahead) -> Advice {
        let reference = place.to_string();
        let now = ahead.commit.as_deref().unwrap_or_default();
        let problem = match self.made.iter().rfind(|made| made.reference == reference) {
            Some(made) if made.commit != now => {
                let (before, now) = (short(&made.commit), short(now));
                format!("{name} was made of {reference} at {before}, and that is at {now} now")
            }
            Some(_) => format!("{name} was made of {reference} with other options"),
            None => format!("{name} is another model's name in the store"),
        };
        Advice::input(problem)
            .hint(format!("write a name after the reference; {name} itself replaces what has the name now"))
    }
}

impl Stored {
    /// Whether all its blobs are there, in their lengths: no byte is read. A pull brings again what is not.
    pub(super) fn is_whole(&self, store: &Store) -> bool {
        let mut blobs = self.manifest.blobs();
        blobs.all(|blob| store.blob_path(&blob.digest).metadata().is_ok_and(|found| found.len() == blob.size))
    }
}

/// The beginning of a commit, or of the digest of a manifest.
fn short(commit: &str) -> String {
    commit.trim_start_matches("sha256:").chars().take(12).collect()
}
