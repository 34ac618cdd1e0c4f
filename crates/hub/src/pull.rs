//! A model from a hub into a store.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use longshore_manifest::{
    ModelName, Progress, Store,
    store::{Added, Ingest, Pull, PullRecord},
};
use longshore_packer::{ImportOptions, ImportOutcome, Plan, PlanOptions, Source, SourceOptions};

use crate::{
    FileDigest, Hub, HubError, HubReference, Selection, cache,
    fetch::Files,
    gguf, key,
    remote::{Cached, made},
    rolling::{End, Rolling, Shards, release},
    snapshot::{self, Weights},
};

/// Options of a pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// How the import is planned.
    pub plan: PlanOptions,
    /// How it is made. Losses are not measured.
    pub import: ImportOptions,
    /// Which files are wanted.
    pub selection: Selection,
}

/// What a pull did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pulled {
    /// What the import did.
    pub outcome: ImportOutcome,
    /// The commit that it was made of.
    pub commit: String,
    /// Bytes of the chosen files.
    pub bytes: u64,
    /// Bytes that this process received.
    pub moved_bytes: u64,
    /// Remarks of the plan for the user.
    pub warnings: Vec<String>,
}

/// Everything about one pull that does not change while it is done.
struct Job<'a> {
    store: &'a Store,
    name: &'a ModelName,
    options: &'a PullOptions,
    progress: &'a dyn Progress,
}

/// Imports a model from a hub into the store, and names it `name`.
///
/// The revision is pinned to a commit first. Small files and the headers of the weights come next, so that everything can be planned; then
/// shard by shard, each verified by the SHA-256 that the hub lists before anything is made of it, and its space given back when nothing needs
/// it any more: besides the result there are never more than three. A finished tensor is durable, and in the pull's journal, before that. So a
/// pull that is killed goes on where it was, and the name points at the model only once all of it is there. The store [notes](Store::note_made)
/// what the model was made of.
///
/// # Errors
///
/// As [`Remote::of`](crate::Remote::of); [`HubError::Digest`] if a file keeps arriving damaged; [`HubError::Source`] and [`HubError::Plan`] if the files are no
/// model that can be imported so; [`HubError::Space`], [`HubError::Import`], [`HubError::Pull`], [`HubError::Transfer`].
pub fn pull(
    hub: &Hub,
    reference: &HubReference,
    store: &Store,
    name: &ModelName,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled, HubError> {
    let job = Job { store, name, options, progress };
    if hub.options.offline {
        return job.offline(hub, reference);
    }
    let shown = reference.to_string();
    let stop = || progress.cancelled();
    let listing = hub.listing(reference, &stop)?;
    let chosen = options.selection.of(&listing, &shown)?;
    let bytes: u64 = chosen.files.iter().map(|file| file.size).sum();
    let record = PullRecord::new(shown.clone(), name.clone(), bytes);
    let made = made(hub, reference, &listing, &chosen.files, options);
    let pull = store.pull(&key::unfinished(&made.key), &record)?;
    let moved = AtomicU64::new(0);
    let count = |bytes: u64| {
        moved.fetch_add(bytes, Ordering::Relaxed);
    };
    let files = Files { hub, listing: &listing, reference: &shown, moved: &count, stop: &stop };
    let scratch = pull.scratch()?;
    let dir = scratch.join("snapshot");
    progress.begin("reading headers", 0);
    let weights = snapshot::make(&files, &chosen, &dir, &scratch.join("notes"))?;
    // The files of a set may lie below a directory, with those of no other model.
    let of_set = weights.first().filter(|file| file.is_gguf()).and_then(|file| file.path.parent());
    let (outcome, warnings) = job.rolling(&files, &pull, of_set.unwrap_or(&dir), &weights)?;
    // Without the note, the same pull only does its work again.
    let _ = store.note_made(&outcome.digest, made);
    // A directory that stays costs nothing but its place in a list.
    let _ = pull.end();
    Ok(Pulled { outcome, commit: listing.commit.clone(), bytes, moved_bytes: moved.into_inner(), warnings })
}

/// Downloads a weight file, and tells the progress, which never runs back.
fn load(files: &Files<'_>, weights: &Weights, progress: &dyn Progress) -> Result<(), HubError> {
    let most = AtomicU64::new(0);
    let told = |at: u64| {
        let before = most.fetch_max(at, Ordering::Relaxed);
        progress.advance(at.saturating_sub(before));
    };
    progress.at(weights.file.path.as_str());
    files.large(&weights.file, &weights.path, &weights.note, &told)?;
    snapshot::check_read(weights)?;
    if weights.is_gguf() { gguf::check(weights) } else { Ok(()) }
}

impl Job<'_> {
    /// Imports a snapshot whose weight files may still be without bytes.
    fn rolling(
        &self,
        files: &Files<'_>,
        pull: &Pull<'_>,
        dir: &Path,
        weights: &[Weights],
    ) -> Result<(ImportOutcome, Vec<String>), HubError> {
        let plan = self.plan(dir)?;
        let ingest = self.store.ingest()?;
        let finished = finished(&ingest, pull, &plan)?;
        // Shards of the plan, as the weight files that they are.
        let number: HashMap<PathBuf, usize> =
            weights.iter().enumerate().map(|(at, file)| (file.path.clone(), at)).collect();
        let number_of = |shard: usize| number.get(&plan.source().shards[shard].path).copied();
        let mut needs: HashMap<String, BTreeSet<usize>> = HashMap::new();
        for blob in plan.blobs.iter().filter(|blob| !finished.contains_key(&blob.name)) {
            needs.insert(blob.name.clone(), plan.shards_of(blob).into_iter().filter_map(number_of).collect());
        }
        let here: Vec<bool> = weights.iter().map(|file| file.is_whole).collect();
        let shards = Shards::new(needs, &here);
        let to_come = shards.to_come();
        // The header of a file that nothing is made of any more is part of the plan too, and only the whole file vouches for it.
        let is_unproved = |at: &usize| !weights[*at].is_whole && !weights[*at].is_gone && !shards.is_needed(*at);
        let unproved: Vec<usize> = (0..weights.len()).filter(is_unproved).collect();
        let sizes: Vec<u64> = to_come.iter().chain(&unproved).map(|shard| weights[*shard].file.size).collect();
        self.progress.begin("pulling", sizes.iter().sum());
        self.check_space(&plan, &finished, sizes)?;
        for shard in unproved {
            load(files, &weights[shard], self.progress)?;
            release(&weights[shard])?;
        }
        let stop = || self.progress.cancelled();
        let sink = Rolling {
            store: self.store,
            ingest: std::sync::Mutex::new(Some(ingest)),
            pull,
            shards: &shards,
            weights,
            finished: &finished,
            stop: &stop,
        };
        let is_over = AtomicBool::new(false);
        let stop_loading = || self.progress.cancelled() || is_over.load(Ordering::Relaxed);
        let files = Files { stop: &stop_loading, ..*files };
        let done = std::thread::scope(|scope| {
            scope.spawn(|| {
                let _end = End { shards: &shards, is_over: &is_over, only_panics: true };
                for shard in to_come {
                    if !shards.room(shard, &stop) {
                        return;
                    }
                    match load(&files, &weights[shard], self.progress) {
                        Ok(()) => shards.arrived(shard),
                        // The import has ended, and says why.
                        Err(HubError::Cancelled) if is_over.load(Ordering::Relaxed) => return,
                        Err(error) => return shards.fail(error),
                    }
                }
            });
            let _end = End { shards: &shards, is_over: &is_over, only_panics: false };
            plan.import(&sink, self.name, &self.options.import, &Quiet(self.progress))
        });
        let outcome = match (done, shards.take_error()) {
            (Ok(outcome), _) => outcome,
            // The error of the shard is why the import failed.
            (Err(_), Some(error)) => return Err(error),
            (Err(_), None) if self.progress.cancelled() => return Err(HubError::Cancelled),
            (Err(error), None) => return Err(error.into()),
        };
        Ok((outcome, plan.warnings.clone()))
    }

    fn plan(&self, dir: &Path) -> Result<Plan, HubError> {
        // The only links are ours, to files of the hub's cache that were verified.
        let source = SourceOptions { follow_links: true, ..SourceOptions::default() };
        let source = Source::open_with(dir, &source)?;
        Ok(Plan::new(source, &self.options.plan)?)
    }

    /// Imports what the hub's cache has, and asks nobody. Files that are named by their SHA-256 there are checked by who imports them; here,
    /// those that are named as Git names them.
    fn offline(&self, hub: &Hub, reference: &HubReference) -> Result<Pulled, HubError> {
        let cached = Cached::of(hub, reference)?;
        let files = cached.files(&self.options.selection, reference)?;
        let made = made(hub, reference, &cached.listing, &files, self.options);
        let Cached { snapshot, listing, paths } = &cached;
        let (commit, shown) = (listing.commit.clone(), reference.to_string());
        let is_all = self.options.selection.texts().is_empty();
        let stop = || self.progress.cancelled();
        for file in &files {
            // Whole snapshots are imported from their place, where the importer knows the other digests.
            let is_checked = is_all && matches!(file.digest, FileDigest::Sha256(_));
            if !is_checked && !cache::is_unnamed(file) {
                cache::check(&paths[&file.path], file, &stop)?;
            }
        }
        let bytes = files.iter().map(|file| file.size).sum();
        let record = PullRecord::new(shown, self.name.clone(), bytes);
        let chosen = (!is_all)
            .then(|| {
                let pull = self.store.pull(&key::offline(&made), &record)?;
                let dir = pull.scratch()?.join("snapshot");
                snapshot::links(&dir, files.iter().map(|file| (&file.path, paths[&file.path].as_path())))?;
                Ok::<_, HubError>((pull, dir))
            })
            .transpose()?;
        let plan = match &chosen {
            Some((_, dir)) => self.plan(dir)?,
            None => Plan::new(Source::open_with(snapshot, &SourceOptions::default())?, &self.options.plan)?,
        };
        let outcome = plan.import(self.store, self.name, &self.options.import, self.progress)?;
        // Without the note, the same pull only does its work again.
        let _ = self.store.note_made(&outcome.digest, made);
        if let Some((pull, _)) = chosen {
            // A directory that stays costs nothing but its place in a list.
            let _ = pull.end();
        }
        Ok(Pulled { outcome, commit, bytes: plan.source_bytes(), moved_bytes: 0, warnings: plan.warnings.clone() })
    }

    /// Refuses a pull whose result and three largest shards, of these sizes, have no room.
    fn check_space(&self, plan: &Plan, finished: &HashMap<String, Added>, mut sizes: Vec<u64>) -> Result<(), HubError> {
        let Some(available) = self.store.available_bytes() else { return Ok(()) };
        let result: u64 = plan
            .blobs
            .iter()
            .filter(|blob| !finished.contains_key(&blob.name))
            .map(|blob| blob.layout.file_len())
            .fold(0, u64::saturating_add);
        sizes.sort_unstable_by_key(|size| std::cmp::Reverse(*size));
        let needed = sizes.iter().take(3).fold(result, |sum, size| sum.saturating_add(*size));
        if needed <= available {
            return Ok(());
        }
        Err(HubError::Space { path: self.store.root().to_path_buf(), needed, available })
    }
}

/// The layers that earlier attempts finished.
fn finished(ingest: &Ingest<'_>, pull: &Pull<'_>, plan: &Plan) -> Result<HashMap<String, Added>, HubError> {
    let mut found = HashMap::new();
    for blob in &plan.blobs {
        if let Some(added) = ingest.kept(pull, &blob.name)?.filter(|added| added.size == blob.layout.file_len()) {
            found.insert(blob.name.clone(), added);
        }
    }
    Ok(found)
}

/// Progress that only tells whether to stop: what is shown is what arrives.
struct Quiet<'a>(&'a dyn Progress);

impl Progress for Quiet<'_> {
    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}
