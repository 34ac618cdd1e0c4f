//! Sending a stored model.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io::{self, Read},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use longshore_manifest::{Digest, ModelName, Progress, Store, store::Place};

use crate::{
    Registry, RegistryError, WireLayout,
    hash::{self, Digests, Known},
    threads::share,
    upload::{Mount, Upload},
    wire::{Artifact, Index, WireLayer},
};

/// Layers that are sent at a time.
const UPLOADS: usize = 4;
/// Layers that are asked for at a time.
const QUESTIONS: usize = 8;
/// Most other repositories that a token is asked for.
const MOUNTED: usize = 16;

/// What a push would do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushPlan {
    /// Digest of the model.
    pub digest: Digest,
    /// Digest of the artifact's manifest in the registry.
    pub artifact: Digest,
    /// Layers of the artifact.
    pub layers: usize,
    /// Bytes of all layers and documents.
    pub bytes: u64,
    /// Layers and documents that the registry lacks.
    pub missing: usize,
    /// Bytes of these.
    pub missing_bytes: u64,
    /// Bytes of these that other repositories of the registry are known to have, so that they are not likely to be sent.
    pub elsewhere_bytes: u64,
}

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// Digest of the model.
    pub digest: Digest,
    /// Digest of the artifact's manifest in the registry.
    pub artifact: Digest,
    /// Bytes of all layers and documents.
    pub bytes: u64,
    /// Bytes that were sent.
    pub moved_bytes: u64,
    /// Bytes that the registry had, in this repository or in another.
    pub reused_bytes: u64,
}

/// A model, ready to be sent.
struct Prepared {
    layout: WireLayout,
    digests: Digests,
    index: Vec<u8>,
    document: Vec<u8>,
    artifact: Artifact,
    /// The artifact's manifest.
    manifest: Vec<u8>,
}

/// What is to be sent, each digest once.
enum Item<'p> {
    Layer(&'p WireLayer, Digest),
    Document(&'p [u8], Digest),
}

impl Item<'_> {
    fn digest(&self) -> Digest {
        match self {
            Item::Layer(_, digest) | Item::Document(_, digest) => *digest,
        }
    }

    fn size(&self) -> u64 {
        match self {
            Item::Layer(layer, _) => layer.size,
            Item::Document(bytes, _) => bytes.len() as u64,
        }
    }
}

impl Prepared {
    fn new(store: &Store, name: &ModelName, progress: &dyn Progress) -> Result<Self, RegistryError> {
        let document = store.manifest_document(name)?;
        let manifest = longshore_manifest::Manifest::parse(&document).expect("it was parsed when it was read");
        let layout = WireLayout::new(&manifest);
        let digests = hash::digests(store, &layout, &known(store, name, &document), progress)?;
        let index = Index::new(&layout, &digests.chunks).to_bytes();
        let artifact = Artifact::new(&index, &document, &layout, &digests.layers);
        let manifest = artifact.to_bytes();
        Ok(Self { layout, digests, index, document, artifact, manifest })
    }

    /// Everything that is sent before the manifest, the largest first.
    fn items(&self) -> Vec<Item<'_>> {
        let layers = self.layout.layers.iter().zip(&self.digests.layers);
        let mut items: Vec<Item<'_>> = layers.map(|(layer, digest)| Item::Layer(layer, *digest)).collect();
        items.extend([&self.index, &self.document].map(|bytes| Item::Document(bytes, Digest::of(bytes))));
        let mut seen = HashSet::new();
        items.retain(|item| seen.insert(item.digest()));
        items.sort_by_key(|item| std::cmp::Reverse(item.size()));
        items
    }
}

/// The digests of chunks in the model's table, so that they are not computed again. None if the table cannot be read.
fn known(store: &Store, name: &ModelName, document: &[u8]) -> Known {
    let model = store.model(name).ok().filter(|model| model.digest == Digest::of(document));
    let table = model.and_then(|model| model.config.longshore);
    let entries = table.iter().flat_map(|table| &table.blobs);
    entries.filter_map(|entry| Some((entry.digest, entry.chunks.clone()?))).collect()
}

/// Asks which items the registry lacks.
fn missing<'p>(
    registry: &Registry,
    items: Vec<Item<'p>>,
    progress: &dyn Progress,
) -> Result<Vec<Item<'p>>, RegistryError> {
    let has: Vec<std::sync::OnceLock<bool>> = items.iter().map(|_| std::sync::OnceLock::new()).collect();
    share(QUESTIONS, items.len(), &|at, stop| {
        let stop = || stop() || progress.cancelled();
        let found = registry.has_blob(&items[at].digest(), items[at].size(), &stop)?;
        has[at].set(found).expect("each is asked for once");
        Ok(())
    })?;
    let lacks = has.into_iter().map(|has| has.into_inner() == Some(false));
    Ok(items.into_iter().zip(lacks).filter(|(_, lacks)| *lacks).map(|(item, _)| item).collect())
}

/// The other repositories of the registry that are known to have items, by digest.
fn elsewhere(registry: &Registry, store: &Store) -> HashMap<Digest, String> {
    let reference = registry.reference();
    let places = store.places(reference.registry()).into_iter();
    let others = places.filter(|place| place.repository != reference.repository());
    others.flat_map(|place| place.layers.into_iter().map(move |layer| (layer, place.repository.clone()))).collect()
}

/// The place where all of an artifact lies now.
pub(crate) fn place(registry: &Registry, artifact: &Artifact) -> Place {
    let layers = std::iter::once(&artifact.config).chain(&artifact.layers).map(|layer| layer.digest);
    let reference = registry.reference();
    Place {
        registry: reference.registry().to_owned(),
        repository: reference.repository().to_owned(),
        layers: layers.collect(),
    }
}

/// Finds out what a push would send, and sends nothing.
///
/// # Errors
///
/// As [`push`].
pub fn push_plan(
    registry: &Registry,
    store: &Store,
    name: &ModelName,
    progress: &dyn Progress,
) -> Result<PushPlan, RegistryError> {
    let prepared = Prepared::new(store, name, progress)?;
    let items = prepared.items();
    let bytes = items.iter().map(Item::size).sum::<u64>() + prepared.manifest.len() as u64;
    let missing = missing(registry, items, progress)?;
    let elsewhere = elsewhere(registry, store);
    let is_elsewhere = |item: &&Item<'_>| elsewhere.contains_key(&item.digest());
    Ok(PushPlan {
        digest: Digest::of(&prepared.document),
        artifact: Digest::of(&prepared.manifest),
        layers: prepared.layout.layers.len() + 1,
        bytes,
        missing: missing.len(),
        missing_bytes: missing.iter().map(Item::size).sum(),
        elsewhere_bytes: missing.iter().filter(is_elsewhere).map(Item::size).sum(),
    })
}

/// Sends the model `name` to the registry, and points the reference's tag at it.
///
/// Layers that the registry has are not sent: it is asked for those that the store has [noted](Store::note_place) in other repositories of
/// it, and what it does not take from there is sent. Where it only fails at that, it is not asked for the rest. The manifest comes last, so a
/// push that is killed leaves nothing but layers that no manifest needs, and the next one finds them there. The store notes where the model
/// lies now.
///
/// # Errors
///
/// [`RegistryError::Damaged`] if a blob that travels with others is damaged; [`RegistryError::Refused`] if the registry does not take
/// something; [`RegistryError::Transfer`], [`RegistryError::Model`] and [`RegistryError::Fs`].
pub fn push(
    registry: &Registry,
    store: &Store,
    name: &ModelName,
    progress: &dyn Progress,
) -> Result<Pushed, RegistryError> {
    let prepared = Prepared::new(store, name, progress)?;
    let artifact = Digest::of(&prepared.manifest);
    let items = prepared.items();
    let bytes = items.iter().map(Item::size).sum::<u64>() + prepared.manifest.len() as u64;
    let missing = missing(registry, items, progress)?;
    progress.begin("pushing", missing.iter().map(Item::size).sum());
    let elsewhere = elsewhere(registry, store);
    let wanted = missing.iter().filter_map(|item| elsewhere.get(&item.digest()).map(String::as_str));
    let mounting = registry.mounting(wanted.collect::<BTreeSet<_>>().into_iter().take(MOUNTED));
    let (moved, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    share(UPLOADS, missing.len(), &|at, stop| {
        let item = &missing[at];
        let stop = || stop() || progress.cancelled();
        // An upload that begins anew counts on where it was: progress never runs back.
        let most = AtomicU64::new(0);
        let open = || -> io::Result<Box<dyn Read + '_>> {
            let inner: Box<dyn Read + '_> = match item {
                Item::Layer(layer, _) => Box::new(hash::open_layer(store, &prepared.layout, layer)),
                Item::Document(bytes, _) => Box::new(*bytes),
            };
            Ok(Box::new(Counted { inner, progress, at: 0, most: &most, stop: &stop }))
        };
        let digest = item.digest();
        let from = elsewhere.get(&digest).filter(|_| !is_over.load(Ordering::Relaxed));
        let mount = from.map(|from| Mount { from, client: &mounting, is_over: &is_over });
        if registry.upload(&Upload { digest: &digest, size: item.size(), open: &open, mount }, &stop)? {
            moved.fetch_add(item.size(), Ordering::Relaxed);
        } else {
            progress.advance(item.size());
        }
        Ok(())
    })?;
    let stop = || progress.cancelled();
    let mut moved_bytes = moved.into_inner();
    if !registry.has_manifest(&artifact, &stop)? {
        registry.put_manifest(&prepared.manifest, &stop)?;
        moved_bytes += prepared.manifest.len() as u64;
    }
    let digest = Digest::of(&prepared.document);
    // Without the note, a push to another repository sends what it need not.
    let _ = store.note_place(&digest, place(registry, &prepared.artifact));
    Ok(Pushed { digest, artifact, bytes, moved_bytes, reused_bytes: bytes - moved_bytes })
}

/// Counts what is sent for the first time, and ends the body where the push is stopped.
struct Counted<'a> {
    inner: Box<dyn Read + 'a>,
    progress: &'a dyn Progress,
    at: u64,
    most: &'a AtomicU64,
    stop: &'a (dyn Fn() -> bool + Sync),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.stop)() {
            return Err(io::Error::other("stopped"));
        }
        let got = self.inner.read(buffer)?;
        self.at += got as u64;
        let before = self.most.fetch_max(self.at, Ordering::Relaxed);
        self.progress.advance(self.at.saturating_sub(before));
        Ok(got)
    }
}
