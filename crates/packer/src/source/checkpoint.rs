//! A checkpoint: its tensors, files and configuration, without their data.

use std::{collections::BTreeMap, path::PathBuf};

use longshore_manifest::{Digest, document::Changes};
use longshore_model::{ChatTemplate, ModelConfig};

use super::{
    classify::{self, Evidence, Kind},
    companions::Companion,
    error::SourceError,
    inventory::{Contents, Inventory},
    member::{Member, MemberRole},
    merging::SourceAdapter,
    rotation::SourceRotation,
};
use crate::tensor::{Shard, SourceTensor};

/// The longest file that is searched for a chat template, in bytes.
const MAX_TEMPLATE_BYTES: u64 = 64 << 20;

/// A checkpoint that can be imported: its tensors, files and configuration, without their data.
///
/// Opening a source reads `config.json`, the shard index, the headers of the shards, and the scales of 8-bit floats.
/// The scales say whether those floats can be repacked without loss. The same files give the same `Source`, whatever
/// the order in which the file system lists them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Source {
    /// The directory, or the single `.safetensors` or `.gguf` file.
    pub root: PathBuf,
    /// All tensors: those of the first member, then those of the next. Within a member, names are unique and tensors
    /// are in byte order of their names.
    pub tensors: Vec<SourceTensor>,
    /// The files that hold the tensors: those of the first member, then those of the next, in byte order of their
    /// names.
    pub shards: Vec<Shard>,
    /// The files to be stored beside the weights, in byte order of their names.
    pub companions: Vec<Companion>,
    /// The models that the source consists of. An ordinary checkpoint has one member, followed by its draft model, if
    /// any. A pipeline has one member for each component with weights, in byte order of their names.
    pub members: Vec<Member>,
    /// Configuration from `config.json`, from a pipeline's `model_index.json`, or from the keys of a GGUF file. `None` for a
    /// single file of safetensors.
    pub config: Option<ModelConfig>,
    /// The shards' `__metadata__`, merged. If two shards disagree about a key, the first shard's value stands. The
    /// metadata of a draft model is left out.
    pub metadata: BTreeMap<String, String>,
    /// The form in which the weights are stored. For a [`Kind::Pipeline`], each member has its own kind.
    pub kind: Kind,
    /// The tensor or document that `kind` was recognised by. `None` for [`Kind::Float`] and [`Kind::Gguf`].
    pub evidence: Option<Evidence>,
    /// Warnings for the user, about tensors and files that are left out, for example.
    pub warnings: Vec<String>,
    pub(crate) template: ChatTemplate,
    /// The adapters to merge, in the order in which they were added. Their tensors follow those of the members.
    pub(crate) adapters: Vec<SourceAdapter>,
    /// The rotation that an import gives the residual stream.
    pub(crate) rotation: Option<SourceRotation>,
    /// The digest of the model that the source belongs to. `None` unless it is an attachment.
    pub(crate) base: Option<Digest>,
    /// The digest of the source's manifest, and what was done to its values before. `None` unless it is a stored model.
    pub(crate) digest: Option<Digest>,
    pub(crate) changes: Option<Changes>,
}

impl Source {
    /// Creates a source of one model from an inventory of its tensors. `root` is the name of the source in messages.
    ///
    /// # Errors
    ///
    /// Returns [`SourceError::NoTensors`] if the inventory has no tensors, and [`SourceError::Adapter`] if they are
    /// those of an adapter.
    pub fn new(
        root: impl Into<PathBuf>,
        inventory: Inventory,
        companions: Vec<Companion>,
        config: Option<ModelConfig>,
    ) -> Result<Self, SourceError> {
        let root = root.into();
        let mut source = Self {
            template: template(&companions),
            root: root.clone(),
            tensors: Vec::new(),
            shards: Vec::new(),
            companions,
            members: Vec::new(),
            config: config.clone(),
            metadata: BTreeMap::new(),
            kind: Kind::Float,
            evidence: None,
            warnings: Vec::new(),
            adapters: Vec::new(),
            rotation: None,
            base: None,
            digest: None,
            changes: None,
        };
        let member = source.add(MemberRole::Whole, root, inventory, config, None)?;
        let (kind, evidence) = (member.kind, member.evidence.clone());
        (source.kind, source.evidence) = (kind, evidence);
        Ok(source)
    }

    /// Adds a member with its shards and tensors.
    pub(super) fn add(
        &mut self,
        role: MemberRole,
        root: PathBuf,
        inventory: Inventory,
        config: Option<ModelConfig>,
        class: Option<String>,
    ) -> Result<&Member, SourceError> {
        let Inventory { shards, tensors, metadata, warnings, index: _, contents } = inventory;
        if tensors.is_empty() {
            let path = if let [only] = &*shards { only.path.clone() } else { root };
            return Err(SourceError::NoTensors { path });
        }
        if tensors.iter().all(|tensor| tensor.name.contains("lora_")) {
            return Err(SourceError::Adapter { path: shards[0].path.clone() });
        }
        let (kind, evidence) = match &contents {
            Contents::Gguf(_) => (Kind::Gguf, None),
            Contents::Checkpoint { .. } | Contents::Stored(_) => classify::classify(&tensors),
        };
        self.warnings.extend(warnings);
        if kind == Kind::Float && config.as_ref().is_some_and(|config| config.quantization.is_some()) {
            let path = match &role {
                MemberRole::Component(name) => format!("{name}/config.json"),
                MemberRole::Whole | MemberRole::Draft => "config.json".to_owned(),
            };
            self.warnings.push(format!("{path} describes quantized weights, but the weights are not quantized"));
        }
        let first_shard = self.shards.len();
        let first = self.tensors.len();
        self.shards.extend(shards);
        self.tensors
            .extend(tensors.into_iter().map(|tensor| SourceTensor { shard: tensor.shard + first_shard, ..tensor }));
        for (key, value) in metadata {
            self.metadata.entry(key).or_insert(value);
        }
        let tensors = first..self.tensors.len();
        self.members.push(Member { role, root, config, class, kind, evidence, tensors, contents });
        Ok(&self.members[self.members.len() - 1])
    }

    /// The tensors of `member`, one of [`Self::members`], in byte order of their names, which are unique among them.
    ///
    /// # Panics
    ///
    /// May panic if `member` belongs to another source.
    #[must_use]
    pub fn tensors_of(&self, member: &Member) -> &[SourceTensor] {
        &self.tensors[member.tensors.clone()]
    }

    /// The length of all tensors in bytes, without headers.
    #[must_use]
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().map(SourceTensor::byte_len).fold(0, u64::saturating_add)
    }

    /// The architecture of the model, from [`Facts::architecture`](longshore_model::Facts::architecture). For a pipeline, its `_class_name`.
    #[must_use]
    pub fn architecture(&self) -> Option<&str> {
        self.config.as_ref()?.architecture.as_deref()
    }
}

/// The chat template among a model's files.
pub(super) fn template(files: &[Companion]) -> ChatTemplate {
    let bytes = |name: &str| files.iter().find(|file| file.name.as_str() == name)?.bytes(MAX_TEMPLATE_BYTES);
    ChatTemplate::read(bytes("tokenizer_config.json").as_deref(), bytes("chat_template.jinja"))
}
