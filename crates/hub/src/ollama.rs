//! Models from Ollama's registry: its manifest and blobs, verified, then imported as from its store.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use longshore_manifest::{
    Digest, FsError, Manifest, ModelName, Progress, RelativePath, Store,
    store::{Made, Partial, PartialError, Pull, PullRecord},
};
use longshore_packer::{Plan, Source, SourceOptions};
use longshore_transfer::{Call, Client, Download, TransferError, Url};

use crate::{FileDigest, HubError, Listed, PullOptions, Pulled, Remote, cache, error::at, key, listing::MAX_SIZE};

/// What a manifest may be, for `Accept`.
const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
/// Longest manifest, in bytes.
const MAX_MANIFEST: u64 = 16 << 20;
/// Most distinct blobs of a model.
const MAX_BLOBS: usize = 100_000;

/// A registry that speaks as Ollama's does.
#[derive(Debug, Clone)]
pub struct Ollama {
    client: Client,
    base: Option<Url>,
}

impl Ollama {
    /// Makes the connection. A model's name says its host, which is spoken to over https unless it is this machine; `base` takes the place of
    /// that, for tests and mirrors.
    #[must_use]
    pub fn new(client: Client, base: Option<Url>) -> Self {
        Self { client, base }
    }

    fn url(&self, model: &ModelName, rest: &str) -> Result<Url, HubError> {
        let base = if let Some(base) = &self.base {
            base.clone()
        } else {
            let secure: Url = format!("https://{}", model.host()).parse().map_err(TransferError::from)?;
            let plain = || format!("http://{}", model.host()).parse().map_err(TransferError::from);
            if secure.origin().is_loopback() { plain()? } else { secure }
        };
        let path = format!("/v2/{}/{}/{rest}", model.namespace(), model.model());
        Ok(base.join(&path).map_err(TransferError::from)?)
    }

    fn manifest(&self, model: &ModelName, stop: &(dyn Fn() -> bool + Sync)) -> Result<(Vec<u8>, Manifest), HubError> {
        let shown = format!("ollama:{model}");
        let url = self.url(model, &format!("manifests/{}", model.tag()))?;
        let mut call = Call::get(&url);
        call.headers.push(("Accept", ACCEPT));
        let read = self.client.read(&call, MAX_MANIFEST, stop);
        let (_, bytes) = read.map_err(|error| HubError::of(error, &shown))?;
        let listing = |problem: String| HubError::Listing { reference: shown.clone(), problem };
        let manifest = Manifest::parse(&bytes).map_err(|error| listing(error.to_string()))?;
        let mut sizes = BTreeMap::new();
        for blob in manifest.blobs() {
            if sizes.insert(blob.digest, blob.size).is_some_and(|size| size != blob.size) {
                return Err(listing(format!("{} has two sizes", blob.digest)));
            }
        }
        if sizes.len() > MAX_BLOBS {
            return Err(listing(format!("it has more than {MAX_BLOBS} blobs")));
        }
        let total = sizes.values().try_fold(0_u64, |sum, size| sum.checked_add(*size));
        if total.is_none_or(|total| total > MAX_SIZE) {
            return Err(listing(format!("its blobs have more than {MAX_SIZE} bytes")));
        }
        Ok((bytes, manifest))
    }

    /// Asks what a pull would fetch, and fetches only the manifest. Its files are the model's distinct blobs, its commit the manifest's digest.
    ///
    /// # Errors
    ///
    /// The errors of [`pull_ollama`].
    pub fn remote(
        &self,
        model: &ModelName,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Remote, HubError> {
        let (document, manifest) = self.manifest(model, &|| progress.cancelled())?;
        let blobs: BTreeMap<Digest, u64> = manifest.blobs().map(|blob| (blob.digest, blob.size)).collect();
        let files: Vec<_> = blobs.into_iter().map(|(digest, size)| (digest.to_string(), size)).collect();
        let missing_bytes = files.iter().map(|(_, size)| *size).sum();
        let made = made(model, &Digest::of(&document), options);
        let key = key::unfinished(&made.key);
        Ok(Remote { commit: made.commit.clone(), files, missing_bytes, made, key })
    }

    /// Downloads a blob to `to`, unless it is there.
    fn blob(&self, load: &Load<'_>, digest: Digest, size: u64, to: &Path) -> Result<(), HubError> {
        let stop = || load.progress.cancelled();
        if to.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() == size) {
            // What arrived before a crash may have its length and not its bytes.
            let path = RelativePath::parse(&digest.file_name()).expect("it is the name of a file");
            if cache::has_digest(to, &Listed { path, size, digest: FileDigest::Sha256(digest) }, &stop) {
                load.progress.advance(size);
                return Ok(());
            }
            if stop() {
                return Err(HubError::Cancelled);
            }
            fs::remove_file(to).map_err(at("remove", to))?;
        }
        let url = self.url(load.model, &format!("blobs/{digest}"))?;
        for is_last in [false, true] {
            let mut partial = load.pull.partial(digest, size)?;
            let start = partial.received();
            if !is_last {
                load.progress.advance(start);
            }
            if start < size {
                let mut accept = |bytes: &[u8]| {
                    partial.write(bytes).map_err(std::io::Error::other)?;
                    load.moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    if !is_last {
                        load.progress.advance(bytes.len() as u64);
                    }
                    Ok(())
                };
                let what = Download { url: &url, size, start, end: size };
                let done = self.client.download(&what, &mut accept, &stop);
                done.map_err(|error| HubError::of(error, &format!("ollama:{}", load.model)))?;
            }
            match check(&partial) {
                Ok(()) => {
                    let from = partial.path().to_path_buf();
                    drop(partial);
                    return fs::rename(&from, to).map_err(at("rename", to));
                }
                Err(PartialError::Digest { expected, found }) if is_last => {
                    let (expected, found) = (expected.to_string(), found.to_string());
                    return Err(HubError::Digest { path: format!("the blob {digest}"), expected, found });
                }
                Err(PartialError::Fs(error)) => return Err(error.into()),
                // Once more, from its start.
                Err(_) => {}
            }
        }
        Ok(())
    }
}

fn check(partial: &Partial) -> Result<(), PartialError> {
    partial.check()
}

struct Load<'a> {
    model: &'a ModelName,
    pull: &'a Pull<'a>,
    progress: &'a dyn Progress,
    moved: &'a AtomicU64,
}

/// The source of a model that is imported from the one of this manifest.
fn made(model: &ModelName, manifest: &Digest, options: &PullOptions) -> Made {
    let key = key::of_ollama(manifest, options);
    Made { key, reference: format!("ollama:{model}"), commit: manifest.to_string() }
}

/// Imports a model from Ollama's registry into the store, and names it `name`.
///
/// Its blobs are downloaded whole, each verified by its digest, and imported as those of Ollama's own store are: tensors keep their codes, and
/// GGUF files their blocks. Besides the result, the disk holds the blobs until the end. What has arrived stays if the process ends.
///
/// # Errors
///
/// [`HubError::NotFound`] if there is no such model for everybody, [`HubError::Digest`] if a blob keeps arriving damaged, and as
/// [`pull`](crate::pull).
pub fn pull_ollama(
    ollama: &Ollama,
    model: &ModelName,
    store: &Store,
    name: &ModelName,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled, HubError> {
    let stop = || progress.cancelled();
    let (document, manifest) = ollama.manifest(model, &stop)?;
    let blobs: BTreeMap<Digest, u64> = manifest.blobs().map(|blob| (blob.digest, blob.size)).collect();
    let bytes: u64 = blobs.values().fold(0, |sum, size| sum.saturating_add(*size));
    if let Some(available) = store.available_bytes().filter(|available| *available < bytes) {
        return Err(HubError::Space { path: store.root().to_path_buf(), needed: bytes, available });
    }
    let commit = Digest::of(&document);
    let made = made(model, &commit, options);
    let pull =
        store.pull(&key::unfinished(&made.key), &PullRecord::new(format!("ollama:{model}"), name.clone(), bytes))?;
    // A store as Ollama's, which knows its digests.
    let dir = pull.scratch()?;
    let manifests = dir.join("manifests").join(model.host()).join(model.namespace()).join(model.model());
    for made in [&dir.join("blobs"), &manifests] {
        fs::create_dir_all(made).map_err(at("create the directory", made))?;
    }
    progress.begin("pulling", bytes);
    let moved = AtomicU64::new(0);
    let load = Load { model, pull: &pull, progress, moved: &moved };
    for (digest, size) in &blobs {
        ollama.blob(&load, *digest, *size, &dir.join("blobs").join(digest.file_name()))?;
    }
    let path = manifests.join(model.tag());
    fs::write(&path, &document).map_err(|error| HubError::Fs(FsError::new("write to", path.clone(), error)))?;
    let plan = Plan::new(Source::open_with(&path, &SourceOptions::default())?, &options.plan)?;
    let outcome = plan.import(store, name, &options.import, progress)?;
    // Without the note, the same pull only does its work again.
    let _ = store.note_made(&outcome.digest, made);
    // A directory that stays costs nothing but its place in a list.
    let _ = pull.end();
    let moved_bytes = moved.into_inner();
    Ok(Pulled { outcome, commit: commit.to_string(), bytes, moved_bytes, warnings: plan.warnings.clone() })
}
