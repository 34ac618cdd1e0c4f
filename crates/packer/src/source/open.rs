//! Opening a path as a source.

use std::{fs, io, path::Path};

use longshore_st_format::Limits;

use super::{checkpoint::Source, companions, config, error::SourceError, pipeline, read, select, stored, walk};
use crate::io::has_suffix;

impl Source {
    /// Opens the source at `path`. It may be a directory as Hugging Face, diffusers or MLX write it, a snapshot of a
    /// hub cache, whose files are symbolic links, one `.safetensors` file, or the manifest of a model in a store. A
    /// store may be one of this program or of ollama
    /// (`~/.ollama/models/manifests/registry.ollama.ai/library/qwen3/4b`); its quantized tensors keep their codes.
    ///
    /// Symbolic links to files are followed, symbolic links to directories are not. Entries whose names start with a
    /// dot are passed over. [`Self::warnings`] names everything else that is left out: files that no model needs, files
    /// more than three directories deep, stores, and directories below `path` that cannot be read. Headers are read in
    /// parallel, on as many threads as the machine has.
    ///
    /// A directory with a `model_index.json` is a pipeline, unless a `config.json` and weights lie beside that file.
    /// Opening succeeds even for packings that cannot be imported; planning refuses them.
    ///
    /// # Errors
    ///
    /// Returns a [`SourceError`] whose variant says what is missing, invalid, incomplete or ambiguous, and in which
    /// file.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, SourceError> {
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => match stored::refuse(path) {
                Some(error) => Err(error),
                None => open_directory(path, limits),
            },
            Ok(meta) if meta.is_file() && is_safetensors(path) => open_file(path, limits),
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
    let inventory = read::read_file(path, limits)?;
    Source::new(path, inventory, Vec::new(), None)
}

fn open_directory(dir: &Path, limits: &Limits) -> Result<Source, SourceError> {
    let entries = walk::walk(dir)?;
    let top_level = |name: &str| entries.iter().find(|entry| entry.name == name);
    let config = top_level("config.json");
    let pipeline = top_level("model_index.json");
    if let Some(index) = pipeline.filter(|_| config.is_none() || !select::has_weights(&entries)) {
        let index = index.path.clone();
        return pipeline::open(dir, entries, &index, limits);
    }
    let Some(config) = config else { return Err(without_config(dir, &entries)) };
    let config = config::read_config(config, &entries)?;
    let mut inventory = read::read_directory(dir, &entries, limits)?;
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
