//! Bringing a model into a store.

use std::{
    collections::HashMap,
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering},
};

use longshore_manifest::{
    Digest, ModelName, Progress, Store,
    store::{Committed, PullRecord},
};

use crate::{
    Registry, RegistryError,
    fetch::{self, Fetch, Target},
    threads::share,
    wire::{self, Artifact, Checked, MAX_INDEX, WireError},
};

/// Longest stored manifest that is read, in bytes.
const MAX_DOCUMENT: u64 = 64 << 20;

/// Options of a pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Blobs that are fetched at a time; 4 if not given.
    pub connections: Option<NonZero<usize>>,
}

/// What a pull would do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PullPlan {
    /// Digest of the model.
    pub digest: Digest,
    /// Digest of the artifact's manifest in the registry.
    pub artifact: Digest,
    /// Distinct blobs of the model.
    pub blobs: usize,
    /// Bytes of these.
    pub bytes: u64,
    /// Blobs that the store lacks.
    pub missing: usize,
    /// Bytes of these.
    pub missing_bytes: u64,
}

/// What a pull did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pulled {
    /// Digest of the model.
    pub digest: Digest,
    /// Digest of the artifact's manifest in the registry.
    pub artifact: Digest,
    /// Bytes of the model's blobs.
    pub bytes: u64,
    /// Bytes that this process received of them.
    pub moved_bytes: u64,
    /// Bytes that the store had, or that an earlier process had received.
    pub reused_bytes: u64,
    /// What the commit did.
    pub committed: Committed,
}

/// A model in a registry, as its documents describe it.
pub(crate) struct Remote {
    digest: Digest,
    artifact: Digest,
    document: Vec<u8>,
    pub(crate) checked: Checked,
}

impl Remote {
    pub(crate) fn read(registry: &Registry, progress: &dyn Progress) -> Result<Self, RegistryError> {
        let stop = || progress.cancelled();
        let reference = || registry.reference().to_string();
        let wire = |source| RegistryError::Wire { reference: reference(), source };
        let (digest, bytes) = registry.manifest(&stop)?;
        let artifact = Artifact::parse(&bytes).map_err(wire)?;
        for (what, size, limit) in
            [("index", artifact.config.size, MAX_INDEX), ("stored manifest", artifact.layers[0].size, MAX_DOCUMENT)]
        {
            if size > limit {
                let problem = format!("the {what} has {size} bytes, expected at most {limit}");
                return Err(wire(WireError::Inconsistent { problem }));
            }
        }
        let (config, first) = (artifact.config.clone(), artifact.layers[0].clone());
        let index = registry.small_blob("the index", &config.digest, config.size, &stop)?;
        let document = registry.small_blob("the stored manifest", &first.digest, first.size, &stop)?;
        let checked = wire::check(artifact, &index, &document).map_err(wire)?;
        Ok(Self { digest: first.digest, artifact: digest, document, checked })
    }

    fn bytes(&self) -> u64 {
        self.checked.blobs.iter().map(|blob| blob.size).fold(0, u64::saturating_add)
    }
}

/// Finds out what a pull would fetch, and fetches only the documents.
///
/// # Errors
///
/// As [`pull`].
pub fn pull_plan(registry: &Registry, store: &Store, progress: &dyn Progress) -> Result<PullPlan, RegistryError> {
    let remote = Remote::read(registry, progress)?;
    let is_there =
        |digest: &Digest, size: u64| store.blob_path(digest).metadata().is_ok_and(|found| found.len() == size);
    let missing: Vec<u64> =
        remote.checked.blobs.iter().filter(|blob| !is_there(&blob.digest, blob.size)).map(|blob| blob.size).collect();
    Ok(PullPlan {
        digest: remote.digest,
        artifact: remote.artifact,
        blobs: remote.checked.blobs.len(),
        bytes: remote.bytes(),
        missing: missing.len(),
        missing_bytes: missing.iter().copied().fold(0, u64::saturating_add),
    })
}

/// Brings a model into the store and names it `name`.
///
/// Blobs that the store has are not fetched. Every blob is checked by its digest, and the name points at the model only once all are there
/// and durable. What has arrived stays if the process ends, whatever ends it, and the next pull of the same model goes on with it.
///
/// # Errors
///
/// [`RegistryError::NotFound`], [`RegistryError::Wire`] or [`RegistryError::Digest`] if the registry has no such model, or something else;
/// [`RegistryError::Space`] if it does not fit; [`RegistryError::Pull`] if another process pulls the same;
/// [`RegistryError::Transfer`], [`RegistryError::Ingest`] and [`RegistryError::Fs`]. No name points at anything new then.
pub fn pull(
    registry: &Registry,
    store: &Store,
    name: &ModelName,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled, RegistryError> {
    let remote = Remote::read(registry, progress)?;
    store.check_spelling(name).map_err(longshore_manifest::store::IngestError::from)?;
    let record = PullRecord::new(registry.reference().to_string(), name.clone(), remote.bytes());
    let key = Digest::of(format!("oci\n{}\n", remote.digest).as_bytes());
    let pull = store.pull(&key, &record)?;
    let ingest = store.ingest()?;
    let mut missing: HashMap<Digest, u64> = HashMap::new();
    for blob in &remote.checked.blobs {
        if !ingest.reuse(blob.digest, blob.size)? {
            missing.insert(blob.digest, blob.size);
        }
    }
    // Blobs of no bytes lie in no layer.
    for digest in missing.iter().filter(|(_, size)| **size == 0).map(|(digest, _)| *digest).collect::<Vec<_>>() {
        let added = ingest.add(b"")?;
        if added.digest == digest {
            missing.remove(&digest);
        }
    }
    let fetches = fetch::plan(&remote.checked, &|digest| missing.contains_key(digest));
    let kept: u64 = pull_bytes(store, &record);
    let total = missing.values().copied().fold(0, u64::saturating_add);
    let needed = total.saturating_sub(kept);
    if let Some(available) = ingest_room(store).filter(|available| *available < needed) {
        return Err(RegistryError::Space { path: store.root().to_path_buf(), needed, available });
    }
    progress.begin("pulling", total);
    let moved = AtomicU64::new(0);
    let count = |bytes: u64| {
        moved.fetch_add(bytes, Ordering::Relaxed);
    };
    let there = |bytes: u64| progress.advance(bytes);
    let connections = options.connections.map_or(4, NonZero::get);
    share(connections, fetches.len(), &|at, stop| {
        let stop = || stop() || progress.cancelled();
        let target = Target {
            registry,
            artifact: &remote.checked.artifact,
            ingest: &ingest,
            pull: &pull,
            moved: &count,
            there: &there,
            stop: &stop,
        };
        fetch_one(&target, &fetches[at])
    })?;
    if progress.cancelled() {
        return Err(RegistryError::Cancelled);
    }
    progress.begin("making durable", 0);
    let committed = ingest.commit_bytes(name, &remote.document)?;
    // A directory that stays costs nothing but its place in a list.
    let _ = pull.end();
    let (bytes, moved_bytes) = (remote.bytes(), moved.into_inner());
    let reused_bytes = bytes.saturating_sub(moved_bytes);
    Ok(Pulled { digest: remote.digest, artifact: remote.artifact, bytes, moved_bytes, reused_bytes, committed })
}

/// Fetches, unless earlier processes had all of it.
fn fetch_one(target: &Target<'_, '_>, fetch: &Fetch) -> Result<(), RegistryError> {
    match fetch {
        Fetch::Alone(_) => target.fetch(fetch),
        Fetch::Run { layer, blobs, .. } => {
            let mut left = Vec::new();
            for blob in blobs {
                let is_there = target.pull.partial_len(&blob.digest) == blob.size
                    && target.ingest.adopt(target.pull.partial(blob.digest, blob.size)?).is_ok();
                if is_there {
                    (target.there)(blob.size);
                } else {
                    left.push(blob.clone());
                }
            }
            let (Some(first), Some(last)) = (left.first(), left.last()) else { return Ok(()) };
            let (start, end) = (first.at[0].1, last.at[0].1 + last.at[0].2);
            target.fetch(&Fetch::Run { layer: *layer, start, end, blobs: left })
        }
    }
}

fn pull_bytes(store: &Store, record: &PullRecord) -> u64 {
    let pulls = store.pulls().unwrap_or_default();
    pulls.iter().find(|pull| pull.record == *record).map_or(0, |pull| pull.kept_bytes)
}

fn ingest_room(store: &Store) -> Option<u64> {
    store.available_bytes()
}
