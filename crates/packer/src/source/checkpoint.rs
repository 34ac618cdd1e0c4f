//! A checkpoint: its tensors, files and configuration, without their data.

use std::{collections::BTreeMap, path::PathBuf};

use longshore_model::{ChatTemplate, ModelConfig};

use super::{
    classify::{self, Evidence, Kind},
    companions::Companion,
    error::SourceError,
    inventory::Inventory,
    member::{Member, MemberRole},
};
use crate::tensor::{Shard, SourceTensor};

/// The longest file that is searched for a chat template, in bytes.
const MAX_TEMPLATE_BYTES: u64 = 64 << 20;

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

impl Source {
    /// A source of one model, from whatever lists its tensors. `root` is what messages call it.
    ///
    /// # Errors
    ///
    /// [`SourceError::NoTensors`] for an inventory without tensors, [`SourceError::Adapter`] for one of an adapter.
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
        };
        let member = source.add(MemberRole::Whole, root, inventory, config, None)?;
        let (kind, evidence) = (member.kind, member.evidence.clone());
        (source.kind, source.evidence) = (kind, evidence);
        Ok(source)
    }

    /// Adds a member and all that its files hold.
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
        let (kind, evidence) = classify::classify(&tensors);
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

    /// The tensors of one of [`Self::members`], in byte order of the names, which are unique among them.
    ///
    /// # Panics
    ///
    /// May panic for another source's member.
    #[must_use]
    pub fn tensors_of(&self, member: &Member) -> &[SourceTensor] {
        &self.tensors[member.tensors.clone()]
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

/// The chat template among a model's files.
pub(super) fn template(files: &[Companion]) -> ChatTemplate {
    let bytes = |name: &str| files.iter().find(|file| file.name.as_str() == name)?.bytes(MAX_TEMPLATE_BYTES);
    ChatTemplate::read(bytes("tokenizer_config.json").as_deref(), bytes("chat_template.jinja"))
}
