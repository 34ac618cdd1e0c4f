//! Opening a path as a source.

use std::{fs, io, path::Path};

use longshore_st_format::Limits;

use super::{
    checkpoint::Source,
    companions, config,
    error::SourceError,
    gguf,
    links::{Links, Place},
    pipeline, read, select, stored, walk,
};
use crate::io::has_suffix;

/// The options of opening a source.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    /// Limits for headers and the shard index.
    pub limits: Limits,
    /// Follows symbolic links to files anywhere, and not only to files of the source itself and of its hub cache.
    pub follow_links: bool,
}

impl Source {
    /// Opens the source at `path`, as [`Self::open_with`] does with default options.
    ///
    /// # Errors
    ///
    /// As [`Self::open_with`].
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, SourceError> {
        Self::open_with(path, &SourceOptions { limits: limits.clone(), ..SourceOptions::default() })
    }

    /// Opens the source at `path`. It may be a directory as Hugging Face, diffusers or MLX write it, a snapshot of a
    /// hub cache, whose files are symbolic links, one `.safetensors` file, one `.gguf` file, a directory with the GGUF files
    /// of one model, or the manifest of a model in a store. Any file of a split set of GGUF files stands for the set. A
    /// store may be one of this program or of ollama
    /// (`~/.ollama/models/manifests/registry.ollama.ai/library/qwen3/4b`); its quantized tensors keep their codes.
    ///
    /// Symbolic links to files are followed if they lead to a file below `path`, or in a snapshot of a hub cache to a
    /// file in `blobs` of the same cache. Other links to files are followed only with
    /// [`SourceOptions::follow_links`]; without it, a link in place of a file that is needed is an error. `path` itself
    /// may be a link. Symbolic links to directories are not followed. Entries whose names start with a
    /// dot are passed over. [`Self::warnings`] names everything else that is left out: files that no model needs, files
    /// more than three directories deep, stores, and directories below `path` that cannot be read. Headers are read in
    /// parallel, on as many threads as the machine has.
    ///
    /// Where the name of a file says its SHA-256, the file is checked against it: blobs of a store, and files in the
    /// `blobs` of a hub cache that the hub keeps outside Git. Configuration and shard index are checked when the source
    /// is opened, weights and companion files by the import that reads them.
    ///
    /// A directory with a `model_index.json` is a pipeline, unless a `config.json` and weights lie beside that file.
    /// Opening succeeds even for packings that cannot be imported; planning refuses them.
    ///
    /// # Errors
    ///
    /// Returns a [`SourceError`] whose variant says what is missing, invalid, incomplete or ambiguous, and in which
    /// file.
    pub fn open_with(path: &Path, options: &SourceOptions) -> Result<Self, SourceError> {
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => match stored::refuse(path) {
                Some(error) => Err(error),
                None => open_directory(path, options),
            },
            Ok(meta) if meta.is_file() && is_safetensors(path) => open_file(path, &options.limits),
            Ok(meta) if meta.is_file() && gguf::open::is_gguf(path) => {
                gguf::open::open_file(path, options.follow_links)
            }
            Ok(meta) if meta.is_file() => {
                stored::open(path).unwrap_or_else(|| Err(SourceError::NotSafetensors { path: path.to_owned() }))
            }
            Ok(_) => Err(SourceError::NotRegular { path: path.to_owned() }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                Err(SourceError::NotFound { path: path.to_owned() })
            }
            Err(source) => Err(SourceError::Io { path: path.to_owned(), source }),
        }
    }
}

fn open_file(path: &Path, limits: &Limits) -> Result<Source, SourceError> {
    let mut inventory = read::read_file(path, limits)?;
    // The file was named by the user, so a link may lead anywhere.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_symlink()
        && let Ok(Place::Inside(digest)) = Links::of(directory, true).and_then(|links| links.place(path))
    {
        inventory.shards.iter_mut().for_each(|shard| shard.digest = digest);
    }
    Source::new(path, inventory, Vec::new(), None)
}

fn open_directory(dir: &Path, options: &SourceOptions) -> Result<Source, SourceError> {
    let SourceOptions { limits, follow_links } = options;
    let links = Links::of(dir, *follow_links).map_err(|source| SourceError::Io { path: dir.to_owned(), source })?;
    let entries = walk::walk(dir, &links)?;
    let top_level = |name: &str| entries.iter().find(|entry| entry.name == name);
    let config = top_level("config.json");
    let pipeline = top_level(pipeline::PIPELINE_INDEX);
    if pipeline.is_some() && (config.is_none() || !select::has_weights(&entries)) {
        return pipeline::open(dir, entries, limits);
    }
    // A repository of GGUF files often has the configuration of the model that they were made of.
    if gguf::open::files(&entries).next().is_some() && !select::has_safetensors(&entries) {
        return gguf::open::open_directory(dir, entries);
    }
    let Some(config) = config else { return Err(without_config(dir, &entries)) };
    let config = config::read_config(config, &entries)?;
    let mut inventory = read::read_directory(dir, &entries, limits)?;
    inventory.warnings.extend(config::disagreements(&config, &entries));
    if pipeline.is_some() {
        inventory.warnings.push("read as the model of config.json, not as the pipeline of model_index.json".into());
    }
    let used: Vec<_> = inventory.shards.iter().map(|shard| shard.name.clone()).chain(inventory.index.take()).collect();
    let companions = companions::collect(dir, entries, &used, &mut inventory.warnings)?;
    Source::new(dir, inventory, companions, Some(config))
}

fn is_safetensors(path: &Path) -> bool {
    path.file_name().is_some_and(|name| has_suffix(&name.to_string_lossy(), ".safetensors"))
}

/// Chooses the most helpful error for a directory without a `config.json`.
fn without_config(dir: &Path, entries: &[walk::Entry]) -> SourceError {
    if entries.is_empty() {
        return SourceError::Empty { dir: dir.to_owned() };
    }
    if let Some(adapter) = entries.iter().find(|entry| entry.name == "adapter_config.json") {
        return SourceError::Adapter { path: adapter.path.clone() };
    }
    let has_safetensors = entries.iter().any(|entry| entry.is_top_level() && is_safetensors(&entry.path));
    if let (false, error @ SourceError::NoWeights { foreign: Some(_), .. }) =
        (has_safetensors, select::no_weights(dir, entries))
    {
        return error;
    }
    let below = entries
        .iter()
        .filter(|entry| entry.file_name() == "config.json" && entry.is_file())
        .filter_map(|entry| entry.path.parent().map(Path::to_owned))
        .take(3)
        .collect();
    SourceError::NoConfig { dir: dir.to_owned(), below }
}
