//! Operations on a store for these tests, with the states that each may leave.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tempfile::TempDir;

use super::super::{Added, Committed, GcOptions, Ingest, IngestError, ModelError, Store};
use crate::{
    Config, Descriptor, Digest, Manifest, ModelName, RelativePath, Silent,
    document::{Facts, Import, TensorTable},
    fs::{
        Disk,
        record::{Quick, Stops},
    },
};

/// Files of a model: name and content of each.
pub(super) type Files<'f> = &'f [(&'f str, &'f [u8])];

pub(super) const A: (&str, &[u8]) = ("a", b"the first file");
pub(super) const B: (&str, &[u8]) = ("b", b"the second");
pub(super) const C: (&str, &[u8]) = ("c", b"and another one");

/// One operation on a store, which may exist already.
#[derive(Clone, Copy)]
pub(super) struct Scenario {
    pub(super) what: &'static str,
    /// Makes the store as it is before the operation.
    pub(super) before: fn(&Store),
    pub(super) act: fn(&Store) -> Result<(), String>,
    /// Models that each name may have, before or after the operation.
    pub(super) names: &'static [(&'static str, &'static [Option<Files<'static>>])],
    /// Content of a file whose blob is damaged before the operation.
    pub(super) damaged: Option<&'static [u8]>,
}

pub(super) const SCENARIOS: [Scenario; 10] = [
    Scenario {
        what: "the first import",
        before: |_| {},
        act: |store| import(store, "m", &[A, B]),
        names: &[("m", &[None, Some(&[A, B])])],
        damaged: None,
    },
    Scenario {
        what: "an import that shares blobs with a name and with nobody",
        before: |store| {
            import(store, "m", &[A]).unwrap();
            orphan(store, C.1);
        },
        act: |store| import(store, "n", &[A, B, C]),
        names: &[("m", &[Some(&[A])]), ("n", &[None, Some(&[A, B, C])])],
        damaged: None,
    },
    Scenario {
        what: "a new version",
        before: |store| import(store, "m", &[A, B]).unwrap(),
        act: |store| import(store, "m", &[B, C]),
        names: &[("m", &[Some(&[A, B]), Some(&[B, C])])],
        damaged: None,
    },
    Scenario {
        what: "a repair",
        before: |store| {
            import(store, "m", &[A, B]).unwrap();
            let path = store.blob_path(&Digest::of(A.1));
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, b"the damaged fi").unwrap();
        },
        act: |store| import(store, "m", &[A, B]),
        names: &[("m", &[Some(&[A, B])])],
        damaged: Some(A.1),
    },
    Scenario {
        what: "a copy",
        before: |store| import(store, "m", &[A]).unwrap(),
        act: |store| copy(store, "m", "host/space/n:tag"),
        names: &[("m", &[Some(&[A])]), ("host/space/n:tag", &[None, Some(&[A])])],
        damaged: None,
    },
    Scenario {
        what: "a removal",
        before: |store| {
            import(store, "m", &[A, B]).unwrap();
            import(store, "n", &[B, C]).unwrap();
        },
        act: |store| remove(store, "m"),
        names: &[("m", &[Some(&[A, B]), None]), ("n", &[Some(&[B, C])])],
        damaged: None,
    },
    Scenario {
        what: "a collection",
        before: |store| {
            import(store, "m", &[A]).unwrap();
            orphan(store, B.1);
            orphan(store, C.1);
            left_behind(store, "one", &[B]);
        },
        act: collect,
        names: &[("m", &[Some(&[A])])],
        damaged: None,
    },
    Scenario {
        what: "an import that takes over",
        before: |store| {
            import(store, "m", &[A]).unwrap();
            left_behind(store, "one", &[B, C]);
        },
        act: |store| import(store, "n", &[A, B]),
        names: &[("m", &[Some(&[A])]), ("n", &[None, Some(&[A, B])])],
        damaged: None,
    },
    Scenario {
        what: "a copy over a name",
        before: |store| {
            import(store, "m", &[A]).unwrap();
            import(store, "n", &[A, B]).unwrap();
        },
        act: |store| copy(store, "m", "n"),
        names: &[("m", &[Some(&[A])]), ("n", &[Some(&[A, B]), Some(&[A])])],
        damaged: None,
    },
    Scenario {
        what: "an import after one that was killed at its commit",
        before: |store| {
            import(store, "m", &[A]).unwrap();
            left_behind(store, "one", &[B, C]);
            orphan(store, B.1);
        },
        act: |store| import(store, "n", &[A]),
        names: &[("m", &[Some(&[A])]), ("n", &[None, Some(&[A])])],
        damaged: None,
    },
];

pub(super) fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

/// Makes a scratch directory in memory, if the system has one.
pub(super) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    TempDir::new_in(memory).or_else(|_| TempDir::new()).unwrap()
}

/// Opens the store below a scratch directory, without syncs.
pub(super) fn quick(dir: &Path) -> Store {
    try_quick(dir).unwrap()
}

pub(super) fn try_quick(dir: &Path) -> Result<Store, String> {
    Store::open_on(dir.join("store"), Disk::of(Arc::new(Quick))).map_err(|error| text(&error))
}

/// Opens the store of [`quick`], with `at` called around each change.
pub(super) fn stopping(dir: &Path, at: impl Fn(usize, &Path) + Send + Sync + 'static) -> Store {
    Store::open_on(dir.join("store"), Disk::of(Arc::new(Stops::new(at)))).unwrap()
}

fn config() -> Vec<u8> {
    Config::new(TensorTable::new(Facts::default(), Import::default(), Vec::new())).to_bytes()
}

fn manifest(files: Files<'_>) -> Manifest {
    let blob = |content: &[u8]| Added::new(Digest::of(content), content.len() as u64);
    let path = |name: &str| RelativePath::parse(name).unwrap();
    let layers = files.iter().map(|(name, content)| Descriptor::file(&path(name), blob(content)));
    Manifest::new(Descriptor::config(blob(&config())), layers.collect())
}

fn write(ingest: &Ingest<'_>, files: Files<'_>) -> Result<(), IngestError> {
    for (name, content) in files {
        let mut blob = ingest.blob_like(name, content.len() as u64)?;
        blob.write_at(0, content)?;
        blob.finish()?;
    }
    Ok(())
}

pub(super) fn try_import(store: &Store, to: &str, files: Files<'_>) -> Result<Committed, IngestError> {
    let ingest = store.ingest()?;
    write(&ingest, files)?;
    ingest.add(&config())?;
    ingest.commit(&name(to), &manifest(files))
}

pub(super) fn import(store: &Store, to: &str, files: Files<'_>) -> Result<(), String> {
    let done = try_import(store, to, files).map_err(|error| text(&error))?;
    done.left.map_or(Ok(()), |error| Err(text(&error)))
}

pub(super) fn copy(store: &Store, from: &str, to: &str) -> Result<(), String> {
    let done = store.copy(&name(from), &name(to)).map_err(|error| text(&error))?;
    done.left.map_or(Ok(()), |error| Err(text(&error)))
}

pub(super) fn remove(store: &Store, from: &str) -> Result<(), String> {
    let removed = store.remove(&name(from)).map_err(|error| text(&error))?;
    removed.left.map_or(Ok(()), |error| Err(text(&error)))
}

pub(super) fn collect(store: &Store) -> Result<(), String> {
    store
        .gc(&GcOptions { grace: Duration::ZERO, ..GcOptions::default() }, &Silent)
        .map(drop)
        .map_err(|error| text(&error))
}

/// Joins the messages of an error and its causes.
pub(super) fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(found) = cause {
        text = format!("{text}: {found}");
        cause = found.source();
    }
    text
}

/// Adds a blob that no name reaches.
pub(super) fn orphan(store: &Store, content: &[u8]) {
    std::fs::write(store.blob_path(&Digest::of(content)), content).unwrap();
}

/// Leaves what an import leaves that is killed after finishing `files`, and what a `gc` leaves that is killed with a
/// blob moved away.
pub(super) fn left_behind(store: &Store, dir: &str, files: Files<'_>) {
    let ingest = store.ingest().unwrap();
    write(&ingest, files).unwrap();
    let dead = store.temporary().join(dir);
    std::fs::rename(ingest.dir(), &dead).unwrap();
    drop(ingest);
    std::fs::write(dead.join(Digest::of(b"moved").file_name()), b"moved").unwrap();
    age(&dead);
}

/// Makes a directory and all its contents look long unused.
pub(super) fn age(path: &Path) {
    let long_ago = SystemTime::now() - Duration::from_secs(10 * 24 * 60 * 60);
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            age(&entry.unwrap().path());
        }
    }
    let file = std::fs::File::open(path).unwrap();
    file.set_modified(long_ago).unwrap();
}

/// Gives the temporaries of a dead process an owner of another boot, because tests have only one process.
pub(super) fn bury(tmp: &Path) {
    for found in entries(tmp) {
        let buried = tmp.join(buried(&found));
        std::fs::rename(tmp.join(&found), &buried).unwrap();
        // Where owners cannot be identified, the age of temporaries decides.
        age(&buried);
    }
}

/// Returns the name of a temporary as of another boot.
pub(super) fn buried(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('-').collect();
    let other = "f".repeat(32);
    if parts.len() == 6 {
        parts[4] = &other;
    }
    parts.join("-")
}

impl Scenario {
    /// Checks a store on which the operation was started, and perhaps completed.
    pub(super) fn check(&self, store: &Store) -> Result<(), String> {
        if store.is_foreign() {
            return Err("the store is taken for another program's".into());
        }
        let allowed: BTreeMap<ModelName, Vec<Option<Digest>>> = self
            .names
            .iter()
            .map(|(text, states)| {
                let digest = |files: &Option<Files<'_>>| files.map(|files| Digest::of(&manifest(files).to_bytes()));
                (name(text), states.iter().map(digest).collect())
            })
            .collect();
        for found in store.names().map_err(|error| text(&error))? {
            if !allowed.contains_key(&found) {
                return Err(format!("there is {found}"));
            }
        }
        for (name, states) in &allowed {
            let found = match store.model(name) {
                Ok(model) => Some(model.digest),
                Err(ModelError::NotFound { .. }) => None,
                Err(error) => return Err(text(&error)),
            };
            if !states.contains(&found) {
                return Err(format!("{name} is {found:?}"));
            }
        }
        let outcome = store.verify(&super::super::VerifyOptions::default(), &Silent).map_err(|error| text(&error))?;
        let damaged = self.damaged.map(Digest::of);
        match outcome.bad.iter().find(|bad| bad.digest != damaged || damaged.is_none()) {
            Some(bad) => Err(format!("{bad:?}")),
            None => Ok(()),
        }
    }
}

/// Continues to work with the store, and describes files that should not stay in it.
pub(super) fn go_on(store: &Store) -> Result<(), String> {
    import(store, "m", &[A, B])?;
    collect(store)?;
    let names = store.names().map_err(|error| text(&error))?;
    let mut reached = BTreeSet::new();
    for name in &names {
        let model = store.model(name).map_err(|error| text(&error))?;
        reached.extend(model.manifest.blobs().map(|blob| blob.digest.file_name()));
    }
    if entries(&store.blobs()) != reached {
        return Err(format!("{:?} are there, {reached:?} are reached", entries(&store.blobs())));
    }
    let left = entries(&store.temporary());
    if left.is_empty() { Ok(()) } else { Err(format!("{left:?} is left")) }
}

pub(super) fn entries(dir: &Path) -> BTreeSet<String> {
    let Ok(found) = std::fs::read_dir(dir) else { return BTreeSet::new() };
    found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
