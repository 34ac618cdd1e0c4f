//! A checkpoint on disk, as far as its headers and configuration describe it.

mod error;
pub(crate) mod walk;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    ops::Range,
    path::{Path, PathBuf},
};

pub use error::SourceError;
use longshore_st_format::{Dtype, Limits, Shape};

use crate::{
    classify::{self, Evidence, Kind},
    companions::{self, Companion, has_suffix},
    config::{MAX_CONFIG_BYTES, ModelConfig},
    inventory::{self, Inventory},
};

/// A checkpoint that could be imported: what its files hold, without their data.
///
/// Opening one reads `config.json`, the shard index and the shards' headers. The same files give the same `Source`
/// whatever the order in which the file system lists them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Source {
    /// The directory, or the single `.safetensors` file.
    pub root: PathBuf,
    /// Every tensor, in byte order of the names, which are unique.
    pub tensors: Vec<SourceTensor>,
    /// The files that hold the tensors, in byte order of their names.
    pub shards: Vec<Shard>,
    /// The files to be stored beside the weights, in byte order of their names.
    pub companions: Vec<Companion>,
    /// What `config.json` says. `None` for a single file and for a pipeline.
    pub config: Option<ModelConfig>,
    /// The shards' `__metadata__`, merged; where two disagree, the first shard's value stands.
    pub metadata: BTreeMap<String, String>,
    /// How the weights are stored.
    pub kind: Kind,
    /// Why it is of this kind. `None` for [`Kind::Float`].
    pub evidence: Option<Evidence>,
    /// What a user should know: tensors and files that are left out, for example.
    pub warnings: Vec<String>,
}

/// One weight file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shard {
    /// Where to read it.
    pub path: PathBuf,
    /// Its file name, such as `model-00001-of-00002.safetensors`.
    pub name: String,
    /// Its length in bytes when its header was read.
    pub file_len: u64,
}

/// One tensor of a weight file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceTensor {
    /// Its name in the checkpoint.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its extents, outermost first.
    pub shape: Shape,
    /// The file that holds it: an index into [`Source::shards`].
    pub shard: usize,
    /// Its bytes, counted from the start of that file.
    pub range: Range<u64>,
}

impl SourceTensor {
    /// Its length in bytes.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.range.end - self.range.start
    }
}

impl Source {
    /// Reads what is at `path`: a directory as Hugging Face, diffusers or MLX write it, a snapshot of a hub cache, whose
    /// files are symbolic links, or one `.safetensors` file.
    ///
    /// Symbolic links to files are followed, those to directories are not. Entries whose names start with a dot are
    /// passed over. What else is not taken is named in [`Self::warnings`]: files that no model needs, what lies more than
    /// three directories deep, stores, directories below `path` that cannot be read. Headers are read in parallel, on the
    /// current rayon pool.
    ///
    /// Opening succeeds for [kinds](Kind) that cannot be imported yet; planning refuses them.
    ///
    /// # Errors
    ///
    /// [`SourceError`]; the variant says what is missing, invalid, incomplete or ambiguous, and in which file.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, SourceError> {
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => Self::open_directory(path, limits),
            Ok(meta) if meta.is_file() && is_safetensors(path) => Self::open_file(path, limits),
            Ok(meta) if meta.is_file() => Err(SourceError::NotSafetensors { path: path.to_owned() }),
            Ok(_) => Err(SourceError::NotRegular { path: path.to_owned() }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                Err(SourceError::NotFound { path: path.to_owned() })
            }
            Err(source) => Err(SourceError::Io { path: path.to_owned(), source }),
        }
    }

    fn open_file(path: &Path, limits: &Limits) -> Result<Self, SourceError> {
        let inventory = inventory::read_file(path, limits)?;
        Self::assemble(path, inventory, Vec::new(), None)
    }

    fn open_directory(dir: &Path, limits: &Limits) -> Result<Self, SourceError> {
        let entries = walk::walk(dir)?;
        let top_level = |name: &str| entries.iter().find(|entry| entry.name == name);
        let Some(config) = top_level("config.json") else {
            if let Some(index) = top_level("model_index.json") {
                let evidence = classify::pipeline(&read_config_bytes(&index.path)?)
                    .map_err(|source| SourceError::Config { path: index.path.clone(), source })?;
                return Self::pipeline(dir, entries, evidence);
            }
            return Err(without_config(dir, &entries));
        };
        let path = &config.path;
        let config = ModelConfig::parse(&read_config_bytes(path)?)
            .map_err(|source| SourceError::Config { path: path.clone(), source })?;
        let mut inventory = inventory::read_directory(dir, &entries, limits)?;
        let used: Vec<_> =
            inventory.shards.iter().map(|shard| shard.name.clone()).chain(inventory.index.take()).collect();
        let companions = companions::collect(dir, entries, &used, &mut inventory.warnings)?;
        Self::assemble(dir, inventory, companions, Some(config))
    }

    fn pipeline(dir: &Path, entries: Vec<walk::Entry>, evidence: Evidence) -> Result<Self, SourceError> {
        // The components' weights are no loss worth a warning: planning refuses the whole.
        let companions = companions::collect(dir, entries, &[], &mut Vec::new())?;
        Ok(Self {
            root: dir.to_owned(),
            tensors: Vec::new(),
            shards: Vec::new(),
            companions,
            config: None,
            metadata: BTreeMap::new(),
            kind: Kind::Pipeline,
            evidence: Some(evidence),
            warnings: Vec::new(),
        })
    }

    fn assemble(
        root: &Path,
        inventory: Inventory,
        companions: Vec<Companion>,
        config: Option<ModelConfig>,
    ) -> Result<Self, SourceError> {
        let Inventory { shards, tensors, metadata, mut warnings, index: _ } = inventory;
        if tensors.is_empty() {
            let path = if let [only] = &*shards { only.path.clone() } else { root.to_owned() };
            return Err(SourceError::NoTensors { path });
        }
        if tensors.iter().all(|tensor| tensor.name.contains("lora_")) {
            return Err(SourceError::Adapter { path: shards[0].path.clone() });
        }
        let (kind, evidence) = classify::classify(&tensors);
        if kind == Kind::Float && config.as_ref().is_some_and(|config| config.quantization.is_some()) {
            warnings.push("config.json describes quantized weights, but the weights are not quantized".to_owned());
        }
        let root = root.to_owned();
        Ok(Self { root, tensors, shards, companions, config, metadata, kind, evidence, warnings })
    }

    /// Bytes of all tensors, without headers.
    #[must_use]
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().map(SourceTensor::byte_len).fold(0, u64::saturating_add)
    }

    /// What the model is, as [`ModelConfig::architecture`] says.
    #[must_use]
    pub fn architecture(&self) -> Option<&str> {
        self.config.as_ref()?.architecture.as_deref()
    }
}

/// The whole file, if it has at most `limit` bytes. A pipe or a device is refused, as opening it may never end.
pub(crate) fn read_small_file(path: &Path, limit: u64) -> Result<Vec<u8>, SourceError> {
    let io = |source| SourceError::Io { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(SourceError::NotRegular { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes));
    let found = read.map_err(io)? as u64;
    if found > limit {
        let found = fs::metadata(path).map_or(found, |meta| meta.len().max(found));
        return Err(SourceError::TooLarge { path: path.to_owned(), found, limit });
    }
    Ok(bytes)
}

fn read_config_bytes(path: &Path) -> Result<Vec<u8>, SourceError> {
    read_small_file(path, MAX_CONFIG_BYTES)
}

fn is_safetensors(path: &Path) -> bool {
    path.file_name().is_some_and(|name| has_suffix(&name.to_string_lossy(), ".safetensors"))
}

/// Which error tells best why a directory without a `config.json` is no source.
fn without_config(dir: &Path, entries: &[walk::Entry]) -> SourceError {
    if entries.is_empty() {
        return SourceError::Empty { dir: dir.to_owned() };
    }
    if let Some(adapter) = entries.iter().find(|entry| entry.name == "adapter_config.json") {
        return SourceError::Adapter { path: adapter.path.clone() };
    }
    let has_safetensors = entries.iter().any(|entry| entry.is_top_level() && is_safetensors(&entry.path));
    if let (false, error @ SourceError::NoWeights { foreign: Some(_), .. }) =
        (has_safetensors, inventory::no_weights(dir, entries))
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
