//! Executing a plan: read, transform, quantize, hash and write, on any number of threads with the same bytes as the result.

mod blob;
mod check;
mod coded;
mod error;
mod importance;
mod jobs;
mod packed;
mod quantize;
mod reader;
mod rebuild;
mod repack;
mod shards;
mod space;
mod table;
mod values;
mod warnings;

use std::{num::NonZero, sync::Arc};

use longshore_manifest::{
    Config, Descriptor, Digest, Manifest, ModelName, Progress, Store,
    document::Loss,
    store::{GcError, IngestError},
};
use longshore_quant::Profile;

pub(crate) use self::jobs::threads;
pub(crate) use self::rebuild::{Rebuild, config, entries};
use self::{blob::Done, jobs::Work, shards::ShardFiles};
pub use self::{
    error::ImportError,
    importance::{ImportanceFile, ImportanceFileError},
    shards::ReadError,
};
use crate::{companions::CompanionKind, plan::Plan, runtime, source::Source};

/// How to execute a plan.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ImportOptions {
    /// How codes are chosen.
    pub profile: Profile,
    /// The number of threads; all that the machine has if `None`.
    pub threads: Option<NonZero<usize>>,
    /// Quantize tensors that hold infinities or NaNs, rather than stop.
    pub allow_non_finite: bool,
    /// How much each input channel matters to the search of [`Profile::Best`]; the other profiles make no use of it.
    pub importance: Option<Arc<ImportanceFile>>,
    /// Decode what was quantized, and store with each tensor how far it is from what it was.
    pub measure: bool,
}

/// What an import did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImportOutcome {
    /// The digest of the manifest: the model's identity.
    pub digest: Digest,
    /// The bytes of blobs that were written: the store did not hold them before.
    pub new_bytes: u64,
    /// The bytes of blobs that it held already or that a killed import had finished, each counted once.
    pub reused_bytes: u64,
    /// Those of them that a killed import had finished.
    pub taken_over_bytes: u64,
    /// The bytes of blobs that are deleted since nobody needs them any more: what the name was before, and what killed imports had
    /// brought into the store.
    pub freed_bytes: u64,
    /// Why such blobs were left for a later [`Store::gc`], if they were.
    pub left: Option<Arc<GcError>>,
    /// What quantization lost beyond rounding, in the order of the plan: groups that underflow, for example. What holds of many
    /// tensors is one line.
    pub warnings: Vec<String>,
    /// What quantization lost of each tensor that was quantized, by its name and in the order of the plan, if
    /// [`ImportOptions::measure`] asked.
    pub losses: Vec<(String, Loss)>,
}

/// Imports `source` as `plan`, which was made from it, says and names it `name`.
///
/// A thread takes one blob at a time, the largest first, and holds a few chunks of at most 4 MiB of it, however large its
/// tensors and their rows are. So memory is bounded by the number of threads. The bytes of the result do not depend on that
/// number.
///
/// A blob that a model of the store has under the same name is compared rather than written, and replaced if it is damaged.
///
/// # Errors
///
/// Whichever it is, no name points at anything new, and what was written is removed again:
/// - [`ImportError::Read`], [`ImportError::Companion`]: the source is not what it was when it was opened;
/// - [`ImportError::OtherSource`]: the plan was made from another one;
/// - [`ImportError::NonFinite`]: its tensors cannot be quantized as asked;
/// - [`ImportError::Importance`]: the importance is not that of its weights;
/// - [`ImportError::Space`], [`ImportError::Ingest`], [`ImportError::Fs`]: the store cannot take it;
/// - [`ImportError::Cancelled`]: `progress` said so.
pub fn import(
    store: &Store,
    name: &ModelName,
    source: &Source,
    plan: &Plan,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<ImportOutcome, ImportError> {
    check::sources(source, plan)?;
    if let Some(importance) = &options.importance {
        importance.check(plan)?;
    }
    // Before anything is read, rather than at the end.
    store.check_spelling(name).map_err(IngestError::from)?;
    let shards = ShardFiles::open(source)?;
    // This takes over what killed imports have left, so it comes before the free space is measured.
    let ingest = store.ingest()?;
    space::drop_others(&ingest, plan);
    space::check(store, &ingest, plan)?;
    let files = plan.files.iter().map(|file| file.size).fold(0, u64::saturating_add);
    progress.begin("importing", plan.source_bytes().saturating_add(files));
    let done = Work { ingest: &ingest, files: &shards, plan, options, progress, replaces: None }.run()?;

    let layers = layers(plan, &done);
    let (blobs, _) = done.split_at(plan.blobs.len());
    let config = ingest.add(&document(source, plan, blobs, options).to_bytes())?;
    let manifest = Manifest::new(Descriptor::config(config), layers);
    if progress.cancelled() {
        return Err(ImportError::Cancelled);
    }
    progress.begin("making durable", 0);
    let committed = ingest.commit(name, &manifest)?;
    let tensors = plan.blobs.iter().flat_map(|blob| &blob.tensors);
    let losses = tensors.zip(done.iter().flat_map(|done| &done.losses));
    let losses = losses.filter_map(|(tensor, loss)| Some((tensor.name.clone(), (*loss)?))).collect();
    Ok(ImportOutcome {
        digest: committed.digest,
        new_bytes: committed.new_bytes,
        reused_bytes: committed.reused_bytes,
        taken_over_bytes: committed.taken_over_bytes,
        freed_bytes: committed.freed_bytes,
        left: committed.left.map(Arc::new),
        warnings: warnings::lines(&done.into_iter().flat_map(|done| done.warnings).collect::<Vec<_>>()),
        losses,
    })
}

/// The config document of `plan`, whose blobs are `done`.
fn document(source: &Source, plan: &Plan, done: &[Done], options: &ImportOptions) -> Config {
    let mut config = Config::new(table::table(source, plan, done, options));
    runtime::describe(source, &mut config);
    config
}

/// The manifest's layers: blobs, then files.
fn layers(plan: &Plan, done: &[Done]) -> Vec<Descriptor> {
    let (blobs, files) = done.split_at(plan.blobs.len());
    let blobs = plan.blobs.iter().zip(blobs).map(|(blob, done)| Descriptor::tensor(&blob.name, done.added));
    let files = plan.files.iter().zip(files).map(|(file, done)| match file.kind {
        CompanionKind::Json => Descriptor::json(&file.name, done.added),
        CompanionKind::Other => Descriptor::file(&file.name, done.added),
    });
    blobs.chain(files).collect()
}
