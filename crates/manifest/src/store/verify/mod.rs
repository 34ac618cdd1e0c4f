//! Checking: every blob against its digest, every header against its table, every document against the others.

mod blob;
mod header;
mod outcome;

use std::collections::{BTreeMap, HashSet};

use rayon::prelude::*;

use super::{ModelError, Store};
use crate::{Config, Digest, Manifest, ModelName, Progress};
use blob::{Stop, Use, sorted};
pub use outcome::{Bad, Problem, VerifyError, VerifyOptions, VerifyOutcome};

/// A model whose manifest can be read.
pub(super) struct Reached {
    name: ModelName,
    /// Of the manifest document.
    digest: Digest,
    manifest: Manifest,
    config: Option<Config>,
}

impl Store {
    /// Hashes blobs on all threads and checks that headers, tables and manifests agree.
    ///
    /// # Errors
    ///
    /// [`VerifyError::NotFound`] for a name in the options that does not exist, [`VerifyError::Cancelled`], [`VerifyError::Fs`] if the
    /// store cannot be listed. What is bad is no error, see [`VerifyOutcome::bad`].
    pub fn verify(&self, options: &VerifyOptions, progress: &dyn Progress) -> Result<VerifyOutcome, VerifyError> {
        let whole = options.names.is_empty();
        let mut names = if whole { self.names()? } else { options.names.clone() };
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
                // Removed since it was listed.
                Err(ModelError::NotFound { .. }) if whole => outcome.models -= 1,
                Err(error @ ModelError::NotFound { .. }) => return Err(VerifyError::NotFound(Box::new(error))),
                Err(error) => {
                    let problem = Problem::Model(Box::new(error));
                    outcome.bad.push(Bad { digest: None, problem, models: vec![name] });
                }
            }
        }
        let (models, mut unusable): (Vec<_>, Vec<_>) = models.into_iter().unzip();
        let mut expected: BTreeMap<Digest, Vec<Use<'_>>> = BTreeMap::new();
        for (model, unusable) in models.iter().zip(&mut unusable) {
            expect(model, unusable.take(), &mut expected, &mut outcome.bad);
        }
        if whole {
            for (digest, _) in self.blob_files()? {
                expected.entry(digest).or_default();
            }
        }
        let checked = self.check_all(expected, progress)?;
        outcome.blobs = checked.len();
        for (size, bad) in checked {
            outcome.bytes += size;
            outcome.bad.extend(bad);
        }
        Ok(outcome)
    }

    /// The size of every blob on disk in bytes, and what is bad about it, by digest.
    fn check_all(
        &self,
        expected: BTreeMap<Digest, Vec<Use<'_>>>,
        progress: &dyn Progress,
    ) -> Result<Vec<(u64, Vec<Bad>)>, VerifyError> {
        let size_of = |digest: &Digest| self.blob_path(digest).metadata().map_or(0, |found| found.len());
        let mut blobs: Vec<_> = expected.into_iter().map(|(digest, uses)| (size_of(&digest), digest, uses)).collect();
        progress.begin("verifying", blobs.iter().map(|(size, ..)| size).sum());
        // The largest first, so that no thread is left alone with one at the end.
        blobs.sort_by_key(|(size, digest, _)| (std::cmp::Reverse(*size), *digest));
        let checked: Result<Vec<_>, VerifyError> = blobs
            .into_par_iter()
            .map(|(size, digest, mut uses)| {
                let bad = match self.check_blob(digest, &mut uses, progress) {
                    Ok(bad) => bad,
                    Err(Stop::Cancelled) => return Err(VerifyError::Cancelled),
                    Err(Stop::Read(error)) => {
                        vec![Bad { digest: Some(digest), problem: Problem::Read(error), models: sorted(&uses) }]
                    }
                };
                Ok((digest, size, bad))
            })
            .collect();
        let mut checked = checked?;
        checked.sort_by_key(|(digest, ..)| *digest);
        Ok(checked.into_iter().map(|(_, size, bad)| (size, bad)).collect())
    }
}

/// Notes what a model expects of its blobs, and where its two documents disagree.
fn expect<'m>(
    model: &'m Reached,
    unusable: Option<ModelError>,
    expected: &mut BTreeMap<Digest, Vec<Use<'m>>>,
    bad: &mut Vec<Bad>,
) {
    let own = |blob: &&mut Use<'_>| std::ptr::eq(blob.model, model);
    for layer in model.manifest.blobs() {
        let uses = expected.entry(layer.digest).or_default();
        if !uses.iter_mut().filter(own).any(|blob| blob.size == layer.size) {
            uses.push(Use { model, size: layer.size, entries: Vec::new(), unusable: None });
        }
    }
    let config = expected.get_mut(&model.manifest.config.digest).and_then(|uses| uses.iter_mut().rev().find(own));
    if let Some(blob) = config {
        blob.unusable = unusable;
    }
    let Some(table) = model.config.as_ref().and_then(|config| config.longshore.as_ref()) else { return };
    let mut differ = |digest, detail: &str| {
        let problem = Problem::Table { detail: detail.to_owned() };
        bad.push(Bad { digest: Some(digest), problem, models: vec![model.name.clone()] });
    };
    let mut known = HashSet::new();
    for entry in &table.blobs {
        known.insert(entry.digest);
        match expected.get_mut(&entry.digest).and_then(|uses| uses.iter_mut().rev().find(own)) {
            Some(blob) => blob.entries.push(entry),
            None => differ(entry.digest, "the manifest does not list this blob"),
        }
    }
    for layer in model.manifest.layers.iter().filter(|layer| layer.is_tensor() && !known.contains(&layer.digest)) {
        differ(layer.digest, "the table does not list this blob");
    }
}
