//! Exporting a model into a directory.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use longshore_manifest::{
    Descriptor, FsError, Progress, Store,
    document::TensorTable,
    store::Model,
    weights::{self, WeightsError},
};
use longshore_model::{MAX_CONFIG_BYTES, ModelConfig};

use super::{
    attachment::{self, AdapterFile},
    contents::{Contents, Edit, name_of},
    error::ExportError,
    gguf::{self, GgufFile},
    huggingface, mlx, names,
    options::{ExportFormat, ExportOptions, ExportOutcome},
    partial::{self, Partial},
    place::outside_stores,
    shards::{self, Shard},
};
use crate::io::{memory, small, threads::threads};

/// Number of bytes of a companion file that are copied at a time.
const COPY: usize = 64 << 10;

/// Writes `model` into the directory `dir`: its weight files, an index of safetensors if there are several, and every companion
/// file.
///
/// The arrangements of the import are undone: stacked experts come back under their own names, transposed weights in
/// their own orientation. The directory appears whole, under its own name, or not at all. Until then the files lie in a
/// directory beside it, or inside it if it exists and is empty. The weight files of a diffusers component, recognised
/// by its `config.json`, are called `diffusion_pytorch_model`, all others `model`. Each component of a pipeline gets
/// its own directory. So does a draft model: `draft`, which can be loaded by itself. Memory is bounded by the number of
/// threads, however large the tensors are.
///
/// In [`ExportFormat::Hf`], values are floats. If values were decoded, by this export or at import, `config.json` no
/// longer says that weights are quantized: `quantization`, `quantization_config` and `compression_config` are removed,
/// also in the description of a nested language model. Its `dtype` or `torch_dtype` becomes the type of the values, and
/// `hf_quant_config.json` is left out. Everything else in the file stays, with the order and spelling of its members. A
/// checkpoint that was stored as floats keeps every file to the byte.
///
/// In [`ExportFormat::Mlx`], modules keep their codes under mlx-lm's names
/// ([`mlx_architectures`](crate::mlx_architectures)): `.weight`, `.scales` and, if the scheme has them, `.biases`.
/// `config.json` describes the codes under `quantization` and `quantization_config`. If newer configurations spell a
/// member differently from mlx-lm, the member is repeated in mlx-lm's spelling. F64, which MLX does not load, becomes F32; no other value is computed. Tensors that
/// mlx-lm's class does not use, such as layers that predict further tokens, are left out and counted. A tensor that is
/// unknown to the class is an error.
///
/// In [`ExportFormat::Gguf`], the directory holds the GGUF files that the model came from and the companion files beside
/// them. Blocks come back byte for byte, also those that were taken over into schemes of MLX from which a way leads back;
/// other tensors are an error without [`ExportOptions::gguf_type`]. With it, every matrix is encoded as that type, where
/// blocks fill its rows, and what llama.cpp reads as F32 alone is F32. A model that came from no GGUF file is an error, and
/// so is one that did in another format.
///
/// A model that is an attachment ([`Source::open_attachment`](crate::Source::open_attachment)) comes back as the files that
/// it was made of, byte for byte. A GGUF file of llama.cpp comes back as `adapter.gguf`, for the formats Hugging Face and GGUF alike.
///
/// The lengths of all blobs are checked against the manifest. Their bytes are not hashed; [`Store::verify`] does that.
///
/// # Errors
///
/// After any error, `dir` is as it was before:
///
/// - [`ExportError::NotEmpty`], [`ExportError::NotADirectory`], [`ExportError::InStore`], [`ExportError::Write`]: the
///   directory cannot be written;
/// - [`ExportError::Quantized`], [`ExportError::Clash`]: the model cannot be written in this form;
/// - [`ExportError::NotForMlx`], [`ExportError::MlxArchitecture`], [`ExportError::MlxTensor`],
///   [`ExportError::MlxQuantized`], [`ExportError::MlxGlobalScale`]: mlx-lm cannot load the model;
/// - [`ExportError::FromGguf`], [`ExportError::NotFromGguf`]: the format is not the one that the model came in;
/// - [`ExportError::AdapterHeader`]: the stored header of an adapter is damaged;
/// - [`ExportError::GgufTensors`]: tensors need a type to be encoded as;
/// - [`ExportError::GgufValues`]: values cannot be encoded as the type that was asked for;
/// - [`ExportError::GgufHeader`], [`ExportError::GgufSet`], [`ExportError::GgufLayout`]: the stored headers of GGUF files
///   are damaged, or do not fit the new types;
/// - [`ExportError::Weights`], [`ExportError::Size`], [`ExportError::Read`]: blobs are missing, cut off, or not written
///   by this program;
/// - [`ExportError::Restore`], [`ExportError::Layout`]: the tensor table holds arrangements that no import makes;
/// - [`ExportError::Cancelled`]: `progress` asked to stop.
pub fn export(
    store: &Store,
    model: &Model,
    dir: &Path,
    options: &ExportOptions,
    progress: &dyn Progress,
) -> Result<ExportOutcome, ExportError> {
    outside_stores(store, dir)?;
    partial::check(dir)?;
    let table = store.table(model).map_err(WeightsError::from)?;
    weights::check(store, &table)?;
    check_sizes(store, model)?;
    if options.format == ExportFormat::Hf {
        gguf::refuse(model, options.format)?;
    }
    let adapter = match options.format {
        ExportFormat::Hf => attachment::file(store, model, &table)?,
        ExportFormat::Gguf => attachment::file(store, model, &table)?.filter(AdapterFile::is_gguf),
        ExportFormat::Mlx => None,
    };
    let Contents { directories: mut outputs, mut edits, left_out } = contents(store, model, &table, options)?;
    if let Some(adapter) = &adapter {
        outputs.clear();
        edits.extend(adapter.left_out.iter().map(|name| (name.clone(), Edit::LeaveOut)));
    }
    let mut notes = Vec::new();
    let gguf = match options.format {
        ExportFormat::Gguf if adapter.is_none() => gguf::files(store, model, &table, options, &mut notes)?,
        _ => Vec::new(),
    };
    let metadata = metadata(model, options.format);
    let mut directories = Vec::with_capacity(outputs.len());
    for (directory, outputs) in outputs {
        let stem = format!("{directory}{}", stem(store, model, &directory));
        let shards = shards::cut(outputs, options.shard_bytes, &stem, &metadata)?;
        directories.push((stem, shards));
    }
    let shards = || directories.iter().flat_map(|(_, shards)| shards);
    let mut files: Vec<_> = model.manifest.files().collect();
    files.retain(|(name, _)| edits.get(name.as_str()) != Some(&Edit::LeaveOut));
    let of_shards = directories.iter().flat_map(|(stem, shards)| shards::names(shards, stem));
    let own = of_shards.chain(gguf.iter().map(|file| file.name.clone()));
    let own: Vec<_> = own.chain(adapter.iter().map(|file| file.name.to_owned())).collect();
    names::check(&own, files.iter().map(|(name, _)| name))?;

    let partial = Partial::create(dir)?;
    let check = |goes_on: bool| if goes_on { Ok(()) } else { Err(ExportError::Cancelled { dir: dir.to_path_buf() }) };
    let shard_count = shards().count() + gguf.len() + adapter.iter().count();
    let mut outcome = ExportOutcome { tensors: 0, shards: shard_count, files: 0, bytes: 0, left_out, notes };
    let weights = shards().map(Shard::data_len).chain(gguf.iter().map(GgufFile::file_len));
    let weights = weights.chain(adapter.iter().map(AdapterFile::file_len));
    let sizes = weights.chain(files.iter().map(|(_, layer)| layer.size));
    progress.begin("exporting", sizes.fold(0, u64::saturating_add));
    for shard in shards() {
        check(shard.write(store, partial.path(), threads(options.threads), progress)?)?;
        outcome.tensors += shard.len();
        outcome.bytes += shard.file_len();
    }
    if let Some(file) = &adapter {
        check(file.write(store, partial.path(), progress)?)?;
        outcome.tensors += file.len();
        outcome.bytes += file.file_len();
    }
    for file in &gguf {
        check(file.write(store, partial.path(), threads(options.threads), progress)?)?;
        outcome.tensors += file.len();
        outcome.bytes += file.file_len();
    }
    for (name, text) in directories.iter().filter_map(|(stem, shards)| shards::index(shards, stem)) {
        outcome.bytes += write_file(&partial.path().join(name), text.as_bytes())?;
    }
    for (name, layer) in files {
        check(!progress.cancelled())?;
        let target = name.segments().fold(partial.path().to_path_buf(), |path, segment| path.join(segment));
        outcome.bytes += match edits.get(name.as_str()) {
            Some(Edit::Text(text)) => write_companion(&target, text)?,
            _ => copy_file(store, layer, &target)?,
        };
        progress.advance(layer.size);
        outcome.files += 1;
    }
    check(!progress.cancelled())?;
    partial.complete()?;
    Ok(outcome)
}

/// Checks that the blobs of tensors and files have the lengths that the manifest says.
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

/// The beginning of the names of a directory's weight files. Loaders choose it by the `config.json` in the directory,
/// and so does this function.
fn stem(store: &Store, model: &Model, directory: &str) -> &'static str {
    let mut files = model.manifest.files();
    let is_config = |name: &str| name.strip_prefix(directory) == Some("config.json");
    let config = files.find(|(name, layer)| is_config(name.as_str()) && layer.size <= MAX_CONFIG_BYTES);
    let bytes = config.and_then(|(_, layer)| small::read(&store.blob_path(&layer.digest), MAX_CONFIG_BYTES).ok());
    match bytes.and_then(|bytes| ModelConfig::parse(&bytes).ok()) {
        Some(config) if config.component().is_some() => "diffusion_pytorch_model",
        _ => "model",
    }
}

/// The metadata of the source's files, with the name of the framework that the tensors are for. transformers requires
/// that name.
fn metadata(model: &Model, format: ExportFormat) -> BTreeMap<String, String> {
    let mut metadata = model.config.longshore.as_ref().map(|table| table.import.metadata.clone()).unwrap_or_default();
    if format == ExportFormat::Mlx {
        metadata.insert("format".into(), "mlx".into());
    } else {
        metadata.entry("format".into()).or_insert_with(|| "pt".into());
    }
    metadata
}

/// Writes a companion file with changed text.
fn write_companion(target: &Path, text: &str) -> Result<u64, ExportError> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(|source| ExportError::Write { path: target.to_path_buf(), source })?;
    }
    write_file(target, text.as_bytes())
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<u64, ExportError> {
    let fail = |source| ExportError::Write { path: path.to_path_buf(), source };
    File::create_new(path).and_then(|mut file| file.write_all(bytes)).map_err(fail)?;
    Ok(bytes.len() as u64)
}

/// Copies the bytes of a companion file, but not its permissions, because blobs are read-only.
fn copy_file(store: &Store, layer: &Descriptor, target: &Path) -> Result<u64, ExportError> {
    let fail = |source| ExportError::Write { path: target.to_path_buf(), source };
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(fail)?;
    }
    let unreadable = |FsError { path, source, .. }| ExportError::Read { path, layer: name_of(layer), source };
    let from = store.open_blob(&layer.digest).map_err(unreadable)?;
    let copied = from.byte_len().map_err(unreadable)?;
    let mut to = File::create_new(target).map_err(fail)?;
    let mut buffer = memory::zeros(COPY).map_err(|error| fail(error.into()))?;
    let mut at = 0;
    while at < copied {
        let len = usize::try_from(copied - at).unwrap_or(COPY).min(COPY);
        from.read_exact_at(&mut buffer[..len], at).map_err(unreadable)?;
        to.write_all(&buffer[..len]).map_err(fail)?;
        at += len as u64;
    }
    check_size(store, layer, copied)?;
    Ok(copied)
}

/// Determines the tensors and changed files of the export.
fn contents<'w>(
    store: &Store,
    model: &Model,
    table: &'w TensorTable,
    options: &ExportOptions,
) -> Result<Contents<'w>, ExportError> {
    match options.format {
        ExportFormat::Hf => huggingface::contents(store, model, table, options.dequantize),
        ExportFormat::Mlx => mlx::contents::contents(store, model, table),
        ExportFormat::Gguf => Ok(gguf::contents(model, table)),
    }
}
