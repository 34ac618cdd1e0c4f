//! Writing a stored model as a directory that other tools load.

mod error;
mod names;
mod partial;
mod restore;
mod shards;
mod tensor;

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io::{self, Write as _},
    num::NonZero,
    path::Path,
};

use longshore_manifest::{
    Descriptor, Progress, Store,
    store::Model,
    weights::{OpenOptions, Weights},
};
use longshore_quant::FloatType;

pub use self::error::ExportError;
use self::{partial::Partial, shards::Shard};
use crate::{
    config::{MAX_CONFIG_BYTES, ModelConfig},
    execute::threads,
};

/// How to export a model.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExportOptions {
    /// Decode quantized tensors to this type. Without it a model that has any is refused.
    pub dequantize: Option<FloatType>,
    /// The most bytes of tensors in a file; a larger tensor gets a file of its own.
    pub shard_bytes: u64,
    /// The number of threads; all that the machine has if `None`.
    pub threads: Option<NonZero<usize>>,
}

impl Default for ExportOptions {
    /// Nothing is decoded; files of at most 5 GB, as the hub's tools write them.
    fn default() -> Self {
        Self { dequantize: None, shard_bytes: 5_000_000_000, threads: None }
    }
}

/// What an export wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportOutcome {
    /// The number of tensors.
    pub tensors: usize,
    /// The number of safetensors files.
    pub shards: usize,
    /// The number of companion files.
    pub files: usize,
    /// The bytes of all files.
    pub bytes: u64,
}

/// Writes `model` into the directory `dir`: safetensors files, their index where there are several, and every companion file.
///
/// Import's transforms are undone: stacked experts come back under their own names, transposed ones in their own
/// orientation. The directory appears whole, under its own name, or not at all; what is written meanwhile lies beside it, or
/// inside where it exists and is empty. The weight files of a diffusers component, as its `config.json` tells, are called
/// `diffusion_pytorch_model`, any others `model`. Each component of a pipeline gets a directory of its own, and so does a draft
/// model, `draft`, which loads by itself. Memory is bounded by the number of threads, however large the tensors are.
///
/// The lengths of all blobs are checked against the manifest. Their bytes are not hashed, as none of those who read a store
/// do: [`Store::verify`] is for that.
///
/// # Errors
///
/// Whichever it is, `dir` is as it was before:
/// - [`ExportError::NotEmpty`], [`ExportError::NotADirectory`], [`ExportError::Write`]: the directory cannot be written;
/// - [`ExportError::Quantized`], [`ExportError::Clash`]: the model has no such form;
/// - [`ExportError::Weights`], [`ExportError::Size`], [`ExportError::Read`]: blobs are missing, cut off, or not from us;
/// - [`ExportError::Restore`], [`ExportError::Layout`]: the tensor table tells of transforms that no import makes;
/// - [`ExportError::Cancelled`]: `progress` said so.
pub fn export(
    store: &Store,
    model: &Model,
    dir: &Path,
    options: &ExportOptions,
    progress: &dyn Progress,
) -> Result<ExportOutcome, ExportError> {
    partial::check(dir)?;
    let weights = Weights::open(store, model, &OpenOptions::default())?;
    check_sizes(store, model)?;
    let outputs = restore::outputs(&weights, model, options.dequantize)?;
    let metadata = metadata(model);
    let mut directories = Vec::with_capacity(outputs.len());
    for (directory, outputs) in outputs {
        let stem = format!("{directory}{}", stem(store, model, &directory));
        let shards = shards::cut(outputs, options.shard_bytes, &stem, &metadata)?;
        directories.push((stem, shards));
    }
    let shards = || directories.iter().flat_map(|(_, shards)| shards);
    let files: Vec<_> = model.manifest.files().collect();
    let own: Vec<_> = directories.iter().flat_map(|(stem, shards)| shards::names(shards, stem)).collect();
    names::check(&own, files.iter().map(|(name, _)| name))?;

    let partial = Partial::create(dir)?;
    let check = |goes_on: bool| if goes_on { Ok(()) } else { Err(ExportError::Cancelled { dir: dir.to_path_buf() }) };
    let mut outcome = ExportOutcome { tensors: 0, shards: shards().count(), files: 0, bytes: 0 };
    let sizes = shards().map(Shard::data_len).chain(files.iter().map(|(_, layer)| layer.size));
    progress.begin("exporting", sizes.fold(0, u64::saturating_add));
    for shard in shards() {
        check(shard.write(partial.path(), threads(options.threads), progress)?)?;
        outcome.tensors += shard.len();
        outcome.bytes += shard.file_len();
    }
    for (name, text) in directories.iter().filter_map(|(stem, shards)| shards::index(shards, stem)) {
        outcome.bytes += write_file(&partial.path().join(name), text.as_bytes())?;
    }
    for (name, layer) in files {
        check(!progress.cancelled())?;
        let target = name.segments().fold(partial.path().to_path_buf(), |path, segment| path.join(segment));
        outcome.bytes += copy_file(store, layer, &target)?;
        progress.advance(layer.size);
        outcome.files += 1;
    }
    check(!progress.cancelled())?;
    partial.complete()?;
    Ok(outcome)
}

/// Makes sure that the blobs of tensors and files are as long as the manifest says.
fn check_sizes(store: &Store, model: &Model) -> Result<(), ExportError> {
    let mut seen = HashSet::new();
    let layers = model.manifest.layers.iter().filter(|layer| layer.is_tensor() || layer.is_file());
    for layer in layers.filter(|layer| seen.insert(layer.digest)) {
        let path = store.blob_path(&layer.digest);
        let found = match path.metadata() {
            Ok(metadata) => metadata.len(),
            Err(source) => return Err(ExportError::Read { path, layer: name_of(layer), source }),
        };
        check_size(store, layer, found)?;
    }
    Ok(())
}

fn check_size(store: &Store, layer: &Descriptor, found: u64) -> Result<(), ExportError> {
    let expected = layer.size;
    if found == expected {
        return Ok(());
    }
    Err(ExportError::Size { path: store.blob_path(&layer.digest), layer: name_of(layer), found, expected })
}

fn name_of(layer: &Descriptor) -> String {
    layer.name.clone().unwrap_or_default()
}

/// How the weight files of a directory begin. What loads them goes by the `config.json` beside them, and so does this.
fn stem(store: &Store, model: &Model, directory: &str) -> &'static str {
    let mut files = model.manifest.files();
    let is_config = |name: &str| name.strip_prefix(directory) == Some("config.json");
    let config = files.find(|(name, layer)| is_config(name.as_str()) && layer.size <= MAX_CONFIG_BYTES);
    let bytes = config.and_then(|(_, layer)| fs::read(store.blob_path(&layer.digest)).ok());
    match bytes.and_then(|bytes| ModelConfig::parse(&bytes).ok()) {
        Some(config) if config.component().is_some() => "diffusion_pytorch_model",
        _ => "model",
    }
}

/// The metadata of the source's files; transformers wants to be told which framework the tensors are for.
fn metadata(model: &Model) -> BTreeMap<String, String> {
    let mut metadata = model.config.longshore.as_ref().map(|table| table.import.metadata.clone()).unwrap_or_default();
    metadata.entry("format".into()).or_insert_with(|| "pt".into());
    metadata
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<u64, ExportError> {
    let fail = |source| ExportError::Write { path: path.to_path_buf(), source };
    File::create_new(path).and_then(|mut file| file.write_all(bytes)).map_err(fail)?;
    Ok(bytes.len() as u64)
}

/// Copies a companion file's bytes, not its permissions: blobs are read-only.
fn copy_file(store: &Store, layer: &Descriptor, target: &Path) -> Result<u64, ExportError> {
    let fail = |source| ExportError::Write { path: target.to_path_buf(), source };
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(fail)?;
    }
    let blob = store.blob_path(&layer.digest);
    let mut from =
        File::open(&blob).map_err(|source| ExportError::Read { path: blob.clone(), layer: name_of(layer), source })?;
    let mut to = File::create_new(target).map_err(fail)?;
    let copied = io::copy(&mut from, &mut to).map_err(fail)?;
    check_size(store, layer, copied)?;
    Ok(copied)
}
