//! A checkpoint on disk, as far as its headers and configuration describe it.

mod draft;
mod error;
mod member;
mod pipeline;
mod stored;
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
pub(crate) use member::DRAFT;
pub use member::{Member, MemberRole};
pub(crate) use stored::{Stored, StoredTensor};

use crate::{
    classify::{self, Evidence, Kind},
    coding,
    companions::{self, Companion, has_suffix},
    config::{MAX_CONFIG_BYTES, ModelConfig, SourceQuantization, keys::QUANTIZATION_FILE},
    inventory::{self, Inventory},
    runtime::ChatTemplate,
};

/// A checkpoint that could be imported: what its files hold, without their data.
///
/// Opening one reads `config.json`, the shard index, the shards' headers, and of 8-bit floats the scales, which say whether they can be
/// repacked without loss. The same files give the same `Source`
/// whatever the order in which the file system lists them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Source {
    /// The directory, or the single `.safetensors` file.
    pub root: PathBuf,
    /// Every tensor: those of the first member, then those of the next, each in byte order of the names, which are unique
    /// within a member.
    pub tensors: Vec<SourceTensor>,
    /// The files that hold the tensors: of each member those of its own, in byte order of their names.
    pub shards: Vec<Shard>,
    /// The files to be stored beside the weights, in byte order of their names.
    pub companions: Vec<Companion>,
    /// The models that it is put together from: one for an ordinary checkpoint, and its draft model, if any, after it; one for
    /// each component of a pipeline that has weights, in byte order of their names.
    pub members: Vec<Member>,
    /// What `config.json` says, or a pipeline's `model_index.json`. `None` for a single file.
    pub config: Option<ModelConfig>,
    /// The shards' `__metadata__`, merged; where two disagree, the first shard's value stands. A draft's is left out.
    pub metadata: BTreeMap<String, String>,
    /// How the weights are stored; [`Kind::Pipeline`] leaves it to each member.
    pub kind: Kind,
    /// Why it is of this kind. `None` for [`Kind::Float`].
    pub evidence: Option<Evidence>,
    /// What a user should know: tensors and files that are left out, for example.
    pub warnings: Vec<String>,
    pub(crate) template: ChatTemplate,
}

/// One weight file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shard {
    /// Where to read it.
    pub path: PathBuf,
    /// Its path below the source's directory, such as `model-00001-of-00002.safetensors`.
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
    /// files are symbolic links, one `.safetensors` file, or the manifest of a model in a store, ours or ollama's
    /// (`~/.ollama/models/manifests/registry.ollama.ai/library/qwen3/4b`), whose quantized tensors keep their codes.
    ///
    /// Symbolic links to files are followed, those to directories are not. Entries whose names start with a dot are
    /// passed over. What else is not taken is named in [`Self::warnings`]: files that no model needs, what lies more than
    /// three directories deep, stores, directories below `path` that cannot be read. Headers are read in parallel, on the
    /// current rayon pool.
    ///
    /// A directory with a `model_index.json` is a pipeline, unless a `config.json` and weights lie beside it. Opening succeeds
    /// for packings that cannot be imported; planning refuses them.
    ///
    /// # Errors
    ///
    /// [`SourceError`]; the variant says what is missing, invalid, incomplete or ambiguous, and in which file.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, SourceError> {
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => match stored::refuse(path) {
                Some(error) => Err(error),
                None => Self::open_directory(path, limits),
            },
            Ok(meta) if meta.is_file() && is_safetensors(path) => Self::open_file(path, limits),
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

    fn open_file(path: &Path, limits: &Limits) -> Result<Self, SourceError> {
        let inventory = inventory::read_file(path, limits)?;
        Self::whole(path, inventory, Vec::new(), None)
    }

    fn open_directory(dir: &Path, limits: &Limits) -> Result<Self, SourceError> {
        let entries = walk::walk(dir)?;
        let top_level = |name: &str| entries.iter().find(|entry| entry.name == name);
        let config = top_level("config.json");
        let pipeline = top_level("model_index.json");
        if let Some(index) = pipeline.filter(|_| config.is_none() || !inventory::has_weights(&entries)) {
            let index = index.path.clone();
            return pipeline::open(dir, entries, &index, limits);
        }
        let Some(config) = config else { return Err(without_config(dir, &entries)) };
        let config = read_config(config, &entries)?;
        let mut inventory = inventory::read_directory(dir, &entries, limits)?;
        if pipeline.is_some() {
            inventory
                .warnings
                .push("taken for the model of config.json, not for the pipeline of model_index.json".into());
        }
        let used: Vec<_> =
            inventory.shards.iter().map(|shard| shard.name.clone()).chain(inventory.index.take()).collect();
        let companions = companions::collect(dir, entries, &used, &mut inventory.warnings)?;
        Self::whole(dir, inventory, companions, Some(config))
    }

    /// A source of one member.
    fn whole(
        root: &Path,
        inventory: Inventory,
        companions: Vec<Companion>,
        config: Option<ModelConfig>,
    ) -> Result<Self, SourceError> {
        let mut source = Self {
            template: ChatTemplate::read(&companions),
            root: root.to_owned(),
            tensors: Vec::new(),
            shards: Vec::new(),
            companions,
            members: Vec::new(),
            config: config.clone(),
            metadata: BTreeMap::new(),
            kind: Kind::Float,
            evidence: None,
            warnings: Vec::new(),
        };
        let member = source.add(MemberRole::Whole, root.to_owned(), inventory, config, None)?;
        let (kind, evidence) = (member.kind, member.evidence.clone());
        (source.kind, source.evidence) = (kind, evidence);
        Ok(source)
    }

    /// Adds a member and all that its files hold.
    fn add(
        &mut self,
        role: MemberRole,
        root: PathBuf,
        inventory: Inventory,
        config: Option<ModelConfig>,
        class: Option<String>,
    ) -> Result<&Member, SourceError> {
        let Inventory { shards, tensors, metadata, warnings, index: _ } = inventory;
        if tensors.is_empty() {
            let path = if let [only] = &*shards { only.path.clone() } else { root };
            return Err(SourceError::NoTensors { path });
        }
        if tensors.iter().all(|tensor| tensor.name.contains("lora_")) {
            return Err(SourceError::Adapter { path: shards[0].path.clone() });
        }
        let (kind, evidence) = classify::classify(&tensors);
        self.warnings.extend(warnings);
        if kind == Kind::Float && config.as_ref().is_some_and(|config| config.quantization.is_some()) {
            let path = match &role {
                MemberRole::Component(name) => format!("{name}/config.json"),
                MemberRole::Whole | MemberRole::Draft => "config.json".to_owned(),
            };
            self.warnings.push(format!("{path} describes quantized weights, but the weights are not quantized"));
        }
        let exact_scales = coding::powers_of_two(&tensors, &shards)?;
        let first_shard = self.shards.len();
        let first = self.tensors.len();
        self.shards.extend(shards);
        self.tensors
            .extend(tensors.into_iter().map(|tensor| SourceTensor { shard: tensor.shard + first_shard, ..tensor }));
        for (key, value) in metadata {
            self.metadata.entry(key).or_insert(value);
        }
        let tensors = first..self.tensors.len();
        self.members.push(Member { role, root, config, class, kind, evidence, tensors, exact_scales, stored: None });
        Ok(&self.members[self.members.len() - 1])
    }

    /// Bytes of all tensors, without headers.
    #[must_use]
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().map(SourceTensor::byte_len).fold(0, u64::saturating_add)
    }

    /// What the model is, as [`ModelConfig::architecture`] says; of a pipeline, its `_class_name`.
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

/// Reads a model's `config.json`. How weights are quantized may stand in `ModelOpt`'s own file beside it.
fn read_config(config: &walk::Entry, entries: &[walk::Entry]) -> Result<ModelConfig, SourceError> {
    let path = &config.path;
    let mut parsed = ModelConfig::parse(&read_config_bytes(path)?)
        .map_err(|source| SourceError::Config { path: path.clone(), source })?;
    if let (None, Some(sidecar)) = (&parsed.quantization, entries.iter().find(|entry| entry.name == QUANTIZATION_FILE))
    {
        let bytes = read_config_bytes(&sidecar.path)?;
        parsed.quantization = SourceQuantization::parse_sidecar(&bytes)
            .map_err(|source| SourceError::Config { path: sidecar.path.clone(), source })?;
    }
    Ok(parsed)
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
