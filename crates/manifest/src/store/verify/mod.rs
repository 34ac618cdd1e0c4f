//! Verification: every blob against its digest, every header against its table, and the documents against each other.

mod blob;
mod chunks;
mod foreign;
mod header;
mod outcome;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    io,
    sync::{Mutex, PoisonError},
};

use super::{ModelError, Store, hash::COPY};
use crate::{
    Config, Descriptor, Digest, FsError, Manifest, ModelName, Progress,
    document::{BlobEntry, Chunks},
    fs, parallel,
};
use blob::{Checked, Stop, Use};
use outcome::distinct;
pub use outcome::{Bad, Problem, VerifyError, VerifyOptions, VerifyOutcome};

/// A model whose manifest can be read.
pub(super) struct Reached {
    name: ModelName,
    /// Digest of the manifest document.
    digest: Digest,
    manifest: Manifest,
    config: Option<Config>,
}

impl Store {
    /// Hashes blobs on all threads of the rayon pool, the largest first, and checks that headers, tables and manifests
    /// agree.
    ///
    /// A blob's SHA-256 decides. A blob that is wrong is read once more, to say by the digests of its chunks, where a table has them, where
    /// it is damaged. With [`VerifyOptions::fast`] the chunks alone are hashed, by all threads at once, and a table whose list disagrees
    /// with a good blob is bad itself. So it is with [`VerifyOptions::chunks`]; else, only one whose list has another length.
    ///
    /// Blobs are read and not mapped. A blob that is truncated in the meantime is reported as bad.
    ///
    /// # Errors
    ///
    /// [`VerifyError::NotFound`] if a name in the options does not exist, [`VerifyError::Cancelled`],
    /// [`VerifyError::Fs`] if the store cannot be listed. Damage is not an error, see [`VerifyOutcome::bad`].
    pub fn verify(&self, options: &VerifyOptions, progress: &dyn Progress) -> Result<VerifyOutcome, VerifyError> {
        let whole = options.names.is_empty();
        let mut names = if whole && !self.is_foreign() && self.blobs().exists() {
            // A model whose name is hidden could not be verified.
            self.all_names()?
        } else if whole {
            self.names()?
        } else {
            options.names.clone()
        };
        names.sort_unstable();
        names.dedup();
        let mut outcome = VerifyOutcome { models: names.len(), ..VerifyOutcome::default() };
        let mut models = Vec::new();
        for name in names {
            match self.read_manifest(&name) {
                Ok((digest, manifest)) => {
                    let (config, unusable) = match self.config(&manifest) {
                        Ok(config) => (Some(config), None),
                        Err(error) => (None, Some(error)),
                    };
                    models.push((Reached { name, digest, manifest, config }, unusable));
                }
                // The model was removed after it was listed.
                Err(ModelError::NotFound { .. }) if whole => outcome.models -= 1,
                Err(error @ ModelError::NotFound { .. }) => return Err(VerifyError::NotFound(Box::new(error))),
                Err(error) => {
                    let problem = Problem::Model(Box::new(error));
                    outcome.bad.push(Bad { digest: None, problem, names: Vec::new(), models: vec![name] });
                }
            }
        }
        let (models, mut unusable): (Vec<_>, Vec<_>) = models.into_iter().unzip();
        let mut expected: BTreeMap<Digest, Vec<Use<'_>>> = BTreeMap::new();
        for (model, unusable) in models.iter().zip(&mut unusable) {
            expect(model, !self.is_foreign(), unusable.take(), &mut expected, &mut outcome.bad);
        }
        if whole {
            // Everything with the name of a blob should be one. A directory or a pipe is reported as bad.
            for (name, _) in fs::entries(&self.blobs())? {
                let Some(digest) = Digest::from_file_name(&name) else { continue };
                expected.entry(digest).or_default();
            }
        }
        let checked = self.check_all(expected, options, progress)?;
        outcome.blobs = checked.len();
        for (size, Checked { problems, is_by_chunks }) in checked {
            outcome.bytes += size;
            outcome.by_chunks += usize::from(is_by_chunks);
            outcome.bad.extend(problems);
        }
        if self.is_foreign() {
            self.check_foreign(&models, &mut outcome.bad);
        }
        Ok(outcome)
    }

    /// Returns the size of every blob on disk in bytes and the blob's problems, by digest. With
    /// [`VerifyOptions::fast`], the digests of chunks decide where a table has them.
    fn check_all(
        &self,
        expected: BTreeMap<Digest, Vec<Use<'_>>>,
        options: &VerifyOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<(u64, Checked)>, VerifyError> {
        let (mut blobs, mut unknown) = (Vec::with_capacity(expected.len()), Vec::new());
        for (digest, uses) in expected {
            let path = self.blob_path(&digest);
            match path.metadata() {
                Ok(found) => blobs.push((if found.is_file() { found.len() } else { 0 }, digest, uses)),
                // Whether it is missing is said when it is opened.
                Err(error) if error.kind() == io::ErrorKind::NotFound => blobs.push((0, digest, uses)),
                Err(error) => {
                    let problem = Problem::Read(FsError::at("read the size of", &path)(error));
                    unknown.push((digest, 0, unhashed(Bad::of(digest, problem, &uses))));
                }
            }
        }
        progress.begin("verifying", blobs.iter().map(|(size, ..)| size).sum());
        // Each thread takes the next largest blob, so that no thread is left alone with a large one at the end.
        blobs.sort_by_key(|(size, digest, _)| (Reverse(*size), *digest));
        let mut chunks = HashMap::new();
        if options.fast {
            let has_chunks =
                |uses: &[Use<'_>], size| uses.iter().flat_map(Use::chunks).any(|list: &Chunks| list.fits(size));
            let by_chunks = blobs.iter().filter(|(size, _, uses)| has_chunks(uses, *size));
            chunks =
                self.hash_chunks(&by_chunks.map(|(size, digest, _)| (*digest, *size)).collect::<Vec<_>>(), progress)?;
        }
        let queue = Mutex::new(blobs.into_iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            let mut buffer = Vec::new();
            fs::resize(&mut buffer, COPY).map_err(FsError::at("read", &self.blobs()))?;
            let mut checked = Vec::new();
            while let Some((size, digest, mut uses)) = next() {
                let of_blob = chunks.get(&digest);
                let found = match self.check_blob(digest, &mut uses, of_blob, options.chunks, &mut buffer, progress) {
                    Ok(found) => found,
                    Err(Stop::Cancelled) => {
                        while next().is_some() {}
                        return Err(VerifyError::Cancelled);
                    }
                    Err(Stop::Read(error)) => unhashed(Bad::of(digest, Problem::Read(error), &uses)),
                };
                checked.push((digest, size, found));
            }
            Ok(checked)
        };
        let checked: Result<Vec<_>, VerifyError> = parallel::on_all_threads(work).into_iter().collect();
        let mut checked: Vec<_> = checked?.into_iter().flatten().chain(unknown).collect();
        checked.sort_by_key(|(digest, ..)| *digest);
        Ok(checked.into_iter().map(|(_, size, found)| (size, found)).collect())
    }
}

/// The finding in a blob that could not be hashed.
fn unhashed(bad: Bad) -> Checked {
    Checked { problems: vec![bad], is_by_chunks: false }
}

/// Collects the expectations that a model has of its blobs, and reports disagreements between its two documents.
/// `is_ours` is true for a store that no other program writes to.
fn expect<'m>(
    model: &'m Reached,
    is_ours: bool,
    unusable: Option<ModelError>,
    expected: &mut BTreeMap<Digest, Vec<Use<'m>>>,
    bad: &mut Vec<Bad>,
) {
    let own = |blob: &&mut Use<'_>| std::ptr::eq(blob.model, model);
    for layer in model.manifest.blobs() {
        let uses = expected.entry(layer.digest).or_default();
        if let Some(blob) = uses.iter_mut().filter(own).find(|blob| blob.size == layer.size) {
            blob.names.extend(layer.name.as_deref());
        } else {
            let names = layer.name.as_deref().into_iter().collect();
            uses.push(Use { model, size: layer.size, names, entries: Vec::new(), unusable: None });
        }
    }
    let config = expected.get_mut(&model.manifest.config.digest).and_then(|uses| uses.iter_mut().rev().find(own));
    if let Some(blob) = config {
        blob.unusable = unusable;
    }
    let Some(config) = &model.config else { return };
    let mut differ = |digest, detail: String| {
        let layers = model.manifest.blobs().filter(|layer| layer.digest == digest);
        let names = distinct(layers.filter_map(|layer| layer.name.clone()));
        let problem = Problem::Table { detail };
        bad.push(Bad { digest: Some(digest), problem, names, models: vec![model.name.clone()] });
    };
    let Some(table) = &config.longshore else {
        // Models of other programs have no table.
        if is_ours && model.manifest.layers.iter().any(Descriptor::is_tensor) {
            differ(model.manifest.config.digest, "the config has none, and the manifest lists tensor blobs".into());
        }
        return;
    };
    let mut known: HashMap<Digest, Vec<&BlobEntry>> = HashMap::new();
    for entry in &table.blobs {
        known.entry(entry.digest).or_default().push(entry);
        match expected.get_mut(&entry.digest).and_then(|uses| uses.iter_mut().rev().find(own)) {
            Some(blob) => blob.entries.push(entry),
            None => differ(entry.digest, "the manifest does not list this blob".into()),
        }
    }
    for layer in model.manifest.layers.iter().filter(|layer| layer.is_tensor()) {
        let name = layer.name.as_deref().unwrap_or_default();
        match known.get(&layer.digest) {
            None => differ(layer.digest, "the table does not list this blob".into()),
            Some(entries) if entries.iter().any(|entry| is_called(entry, name)) => {}
            Some(_) => {
                let detail =
                    format!("the layer {name:?} is neither a tensor of this blob nor the prefix of all of them");
                differ(layer.digest, detail);
            }
        }
    }
}

/// Whether a layer of this blob may be called `name`. It must be the name of one of the blob's tensors, or a prefix of
/// all of them that ends before a dot. If the blob belongs to a component, the component and `/` come first.
fn is_called(entry: &BlobEntry, name: &str) -> bool {
    let name = match &entry.component {
        None => name,
        Some(component) => match name.strip_prefix(component.as_str()).and_then(|rest| rest.strip_prefix('/')) {
            Some(name) => name,
            None => return false,
        },
    };
    let is_below = |tensor: &str| tensor.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    entry.tensors.iter().any(|tensor| tensor.name == name) || entry.tensors.iter().all(|tensor| is_below(&tensor.name))
}
