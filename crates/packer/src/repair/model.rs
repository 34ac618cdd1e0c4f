//! Repair of one model: finding the options of its import, and building its blobs again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use longshore_manifest::{
    Config, Digest, Manifest, ModelName, Progress, Store,
    document::{Chunks, Import, MergedAdapter, Scaled},
    store::{Bad, Ingest, ModelError},
};
use longshore_quant::{Profile, policy::Policy};

use super::{
    candidates,
    described::{Described, add, by_name, describe, difference},
    outcome::{AGAIN, RepairError, RepairOptions, RepairProblem},
};
use crate::{
    execute::{
        options::ImportOptions,
        rebuild::{Rebuild, config},
    },
    plan::{
        options::{Awq, PlanOptions},
        planned::Plan,
    },
    source::{checkpoint::Source, member::Member, merging::SourceAdapter},
};

/// Reasons why blobs are not repaired, each with an optional hint.
pub(super) type Failures = HashMap<Digest, (RepairProblem, Option<String>)>;

/// Builds damaged blobs again, one model after the other.
pub(super) struct Mender<'a> {
    store: &'a Store,
    ingest: &'a Ingest<'a>,
    source: &'a Arc<Source>,
    options: &'a RepairOptions,
    progress: &'a dyn Progress,
    /// The damaged blobs.
    damaged: &'a BTreeMap<Digest, &'a Bad>,
    /// Digests of the damaged blobs that have been built again and are complete in the ingest.
    mended: BTreeSet<Digest>,
}

impl<'a> Mender<'a> {
    pub(super) fn new(
        store: &'a Store,
        ingest: &'a Ingest<'a>,
        source: &'a Arc<Source>,
        options: &'a RepairOptions,
        progress: &'a dyn Progress,
        damaged: &'a BTreeMap<Digest, &'a Bad>,
    ) -> Self {
        Self { store, ingest, source, options, progress, damaged, mended: BTreeSet::new() }
    }

    pub(super) fn mended(self) -> Vec<Digest> {
        self.mended.into_iter().collect()
    }

    /// Builds the damaged blobs of the model `name`. With `with_record`, models whose config document is damaged are
    /// skipped; without it, all others are.
    pub(super) fn mend(
        &mut self,
        name: &ModelName,
        with_record: bool,
        failures: &mut Failures,
    ) -> Result<(), RepairError> {
        let manifest = match self.store.manifest(name) {
            Ok((_, manifest)) => manifest,
            // A model that was removed since it was verified needs nothing.
            Err(ModelError::NotFound { .. }) => return Ok(()),
            Err(error) => {
                self.unreadable(name, error, failures);
                return Ok(());
            }
        };
        if self.damaged.contains_key(&manifest.config.digest) == with_record {
            return Ok(());
        }
        let wanted: BTreeSet<Digest> = manifest
            .blobs()
            .map(|layer| layer.digest)
            .filter(|digest| self.damaged.contains_key(digest) && !self.mended.contains(digest))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        if with_record {
            self.by_record(name, &manifest, wanted, failures)
        } else {
            self.by_guess(&manifest, &wanted, failures)
        }
    }

    /// Notes that a document of the model `name` cannot be read, and that its blobs are not repaired for that.
    fn unreadable(&self, name: &ModelName, error: ModelError, failures: &mut Failures) {
        let error = Arc::new(error);
        let of_model = self.damaged.iter().filter(|(_, bad)| bad.models.contains(name));
        for (digest, _) in of_model.filter(|(digest, _)| !self.mended.contains(digest)) {
            failures.entry(*digest).or_insert_with(|| (RepairProblem::Model(Arc::clone(&error)), None));
        }
    }

    /// Finds the options with the record and the table in the config document.
    fn by_record(
        &mut self,
        name: &ModelName,
        manifest: &Manifest,
        mut wanted: BTreeSet<Digest>,
        failures: &mut Failures,
    ) -> Result<(), RepairError> {
        let known = match self.store.model(name) {
            Ok(model) => Some(model.config),
            Err(error @ ModelError::Fs(_)) => {
                self.unreadable(name, error, failures);
                return Ok(());
            }
            Err(_) => None,
        };
        let Some((config, table)) = known.as_ref().and_then(|config| Some((config, config.longshore.as_deref()?)))
        else {
            failures.extend(wanted.into_iter().map(|digest| (digest, (RepairProblem::NoRecord, Some(AGAIN.into())))));
            return Ok(());
        };
        let described = describe(manifest, table);
        let mut error = None;
        let mut first: Option<Plan> = None;
        let mut rebuild: Option<Rebuild> = None;
        let source = self.rotated(config);
        let awq = self.awq(config);
        for options in candidates::recorded(&table.import, self.options) {
            let options = PlanOptions { awq: awq.clone(), ..options };
            let plan = match Plan::new(Arc::clone(&source), &options) {
                Ok(plan) => plan,
                Err(found) => {
                    error.get_or_insert_with(|| Arc::new(found));
                    continue;
                }
            };
            let rebuild = rebuild.get_or_insert_with(|| Rebuild::new(&plan));
            let planned = by_name(&plan);
            wanted.retain(|digest| !add(rebuild, *digest, &described, &planned, &plan));
            first.get_or_insert(plan);
            if wanted.is_empty() {
                break;
            }
        }
        let hint = self.hint(config, &table.import);
        let planned = first.as_ref().map(by_name);
        for digest in wanted {
            let why = match &planned {
                Some(planned) => difference(digest, &described, planned),
                None => RepairProblem::Plan(Arc::clone(error.as_ref().expect("what has no plan has an error"))),
            };
            failures.insert(digest, (why, Some(hint.clone())));
        }
        let profile = table.import.profile.as_ref().and_then(|profile| profile.parse().ok()).unwrap_or_default();
        let importance = self.options.importance.as_ref();
        let mut options = self.import_options(profile);
        options.importance = importance.filter(|file| Some(file.digest()) == table.import.importance).cloned();
        match rebuild {
            Some(rebuild) => self.build(rebuild, &options, &described, &hint, failures),
            None => Ok(()),
        }
    }

    /// Finds the options by trying all. They are right if the resulting config document has the expected digest.
    fn by_guess(
        &mut self,
        manifest: &Manifest,
        wanted: &BTreeSet<Digest>,
        failures: &mut Failures,
    ) -> Result<(), RepairError> {
        let Some((plan, options, config)) = self.guess(manifest) else {
            if self.progress.cancelled() {
                return Err(RepairError::Cancelled);
            }
            for digest in wanted {
                failures.entry(*digest).or_insert_with(|| (RepairProblem::Config, Some(AGAIN.into())));
            }
            return Ok(());
        };
        let digest = manifest.config.digest;
        let bytes = config.to_bytes();
        let mut writer = self.ingest.replacement(digest)?;
        writer.write_at(0, &bytes)?;
        writer.finish()?;
        self.mended.insert(digest);
        let table = config.longshore.as_deref().expect("it was made with a table");
        let described = describe(manifest, table);
        let planned = by_name(&plan);
        let mut rebuild = Rebuild::new(&plan);
        for digest in wanted.iter().filter(|other| **other != digest) {
            if !add(&mut rebuild, *digest, &described, &planned, &plan) {
                failures.insert(*digest, (difference(*digest, &described, &planned), None));
            }
        }
        let hint = self.hint(&config, &table.import);
        self.build(rebuild, &options, &described, &hint, failures)
    }

    fn guess(&self, manifest: &Manifest) -> Option<(Plan, ImportOptions, Config)> {
        self.sources().into_iter().find_map(|source| self.guess_of(&source, manifest))
    }

    /// The sources that a model may have been made of whose record is lost: an attachment may belong to any model.
    fn sources(&self) -> Vec<Arc<Source>> {
        let Some(own) = self.source.base else { return vec![Arc::clone(self.source)] };
        let names = self.store.names().unwrap_or_default();
        let models = names.iter().filter_map(|name| Some(self.store.manifest(name).ok()?.0));
        // A base that is gone may be that of another attachment.
        let bases = names.iter().filter_map(|name| Some(self.store.model(name).ok()?.config.base?.digest));
        let mut seen = BTreeSet::new();
        let bases = [own].into_iter().chain(models).chain(bases).filter(|base| seen.insert(*base));
        bases.map(|base| Arc::new(Source { base: Some(base), ..Source::clone(self.source) })).collect()
    }

    fn guess_of(&self, source: &Arc<Source>, manifest: &Manifest) -> Option<(Plan, ImportOptions, Config)> {
        let (mut chunks, none) = (None, HashMap::new());
        for options in candidates::all(self.options) {
            if self.progress.cancelled() {
                return None;
            }
            let Ok(plan) = Plan::new(Arc::clone(source), &options) else { continue };
            let blobs = plan.blobs.iter().map(|blob| (Some(blob.name.as_str()), blob.layout.file_len()));
            let files = plan.files.iter().map(|file| (Some(file.name.as_str()), file.size));
            if !manifest.layers.iter().map(|layer| (layer.name.as_deref(), layer.size)).eq(blobs.chain(files)) {
                continue;
            }
            let known = chunks.get_or_insert_with(|| self.chunks(manifest));
            for profile in [Profile::default()].into_iter().chain(Profile::ALL) {
                for importance in [None, self.options.importance.clone()] {
                    let mut options = self.import_options(profile);
                    options.importance = importance;
                    // An earlier release wrote a table without digests of chunks.
                    for chunks in std::iter::once(&*known).chain((!known.is_empty()).then_some(&none)) {
                        let config = config(&plan, &manifest.layers, chunks, &options);
                        if Digest::of(&config.to_bytes()) == manifest.config.digest {
                            return Some((plan, options, config));
                        }
                    }
                }
            }
        }
        None
    }

    /// The digests of the chunks of the model's large blobs, as far as these are whole.
    fn chunks(&self, manifest: &Manifest) -> HashMap<Digest, Chunks> {
        let large = manifest.layers.iter().filter(|layer| layer.is_tensor() && Chunks::count(layer.size) > 0);
        let found = large.filter(|layer| !self.damaged.contains_key(&layer.digest)).filter_map(|layer| {
            let found = self.store.hash_blob(&layer.digest).ok().filter(|found| found.digest == layer.digest)?;
            Some((layer.digest, found.chunks?))
        });
        found.collect()
    }

    fn import_options(&self, profile: Profile) -> ImportOptions {
        // Infinities and NaNs are allowed. If the original import did not allow them, there are none, and the digest
        // confirms it.
        ImportOptions { profile, threads: self.options.threads, allow_non_finite: true, ..ImportOptions::default() }
    }

    fn build(
        &mut self,
        rebuild: Rebuild,
        options: &ImportOptions,
        described: &HashMap<Digest, Described<'_>>,
        hint: &str,
        failures: &mut Failures,
    ) -> Result<(), RepairError> {
        if rebuild.is_empty() {
            return Ok(());
        }
        for (digest, built) in rebuild.run(self.ingest, options, self.progress)? {
            let why = match built {
                Ok(found) if found == digest => {
                    self.mended.insert(digest);
                    failures.remove(&digest);
                    continue;
                }
                Ok(found) => {
                    let name = described.get(&digest).and_then(|blob| blob.names.first());
                    RepairProblem::Bytes { name: name.map(|name| (*name).to_owned()), found }
                }
                Err(error) => RepairProblem::Build(Box::new(error)),
            };
            failures.insert(digest, (why, Some(hint.to_owned())));
        }
        Ok(())
    }

    /// The source, rotated as the model was. One that cannot be is left as it is, and differs from the model.
    fn rotated(&self, config: &Config) -> Arc<Source> {
        let of_source = self.source.changes.as_ref().and_then(|changes| changes.rotation);
        let rotation = config.changes.as_ref().and_then(|changes| changes.rotation).filter(|_| of_source.is_none());
        let rotated = rotation.and_then(|rotation| Source::clone(self.source).rotated(rotation.seed).ok());
        rotated.map_or_else(|| Arc::clone(self.source), Arc::new)
    }

    /// The factors of columns that the model was imported with, if their statistics are given. A source has its own already.
    fn awq(&self, config: &Config) -> Option<Awq> {
        let made = self.made_awq(config)?;
        let statistics = self.options.importance.as_ref().filter(|file| file.digest() == made.statistics)?;
        Some(Awq::new(Arc::clone(statistics), made.power))
    }

    /// The record of factors that the import of the model chose, and that its source did not have.
    fn made_awq(&self, config: &Config) -> Option<Scaled> {
        let of_source = self.source.changes.as_ref().and_then(|changes| changes.awq);
        config.changes.as_ref().and_then(|changes| changes.awq).filter(|_| of_source.is_none())
    }

    /// The first adapter of the model's record that the source lacks, or has with another factor.
    fn missing_adapter(&self, config: &Config) -> Option<Digest> {
        let mut adapters = config.changes.iter().flat_map(|changes| &changes.adapters);
        let mut given = self.source.adapters.iter();
        let mut is_given = |adapter: &MergedAdapter| {
            let same = |given: &SourceAdapter| (given.digest, given.weight.to_bits());
            given.next().map(same) == Some((adapter.digest, adapter.weight.to_bits()))
        };
        adapters.find(|adapter| !is_given(adapter)).map(|adapter| adapter.digest)
    }

    /// Hint that names the likely reason why the source gives something else.
    fn hint(&self, config: &Config, record: &Import) -> String {
        let given = |name: &str| self.options.policy.as_ref().is_some_and(|policy| policy.name() == name);
        let policy = record.policy.as_deref().filter(|name| Policy::named(name).is_err() && !given(name));
        let importance = record
            .importance
            .filter(|digest| self.options.importance.as_ref().is_none_or(|file| file.digest() != *digest));
        if config.draft.is_some() && !self.source.members.iter().any(Member::is_draft) {
            "the model was imported with a draft model: --draft DIR".to_owned()
        } else if let Some(base) = config.base.as_ref().filter(|_| self.source.base.is_none()) {
            format!("the model is an adapter of the model {}: give the adapter's directory", base.digest.short())
        } else if let Some(digest) = self.missing_adapter(config) {
            format!("the model was imported with an adapter whose weights have the digest {digest}: --adapter DIR")
        } else if let Some(gptq) = config.changes.as_ref().and_then(|changes| changes.gptq.as_ref()) {
            let digest = gptq.hessians;
            format!("codes were chosen by Hessians, a file of digest {digest}: import it again with --profile gptq")
        } else if let Some(awq) = self.made_awq(config).filter(|_| self.awq(config).is_none()) {
            format!("columns have factors by statistics of digest {}: --importance FILE", awq.statistics)
        } else if let Some(name) = policy {
            format!("the model was imported with the policy {name:?}, which is not built in: --policy FILE")
        } else if let Some(digest) = importance {
            format!("the model was imported with an importance file of digest {digest}: --importance FILE")
        } else {
            "is it the same version of the checkpoint, and was the model imported by this release?".to_owned()
        }
    }
}
