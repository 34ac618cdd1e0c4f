//! The config document: ollama's fields, the model's facts, and the tensor table.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::Digest;

use super::{
    manifest::{DocumentError, parse, to_line},
    table::TensorTable,
};

/// The config document of a model. Fields before `longshore` are ollama's, in ollama's order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Config {
    /// `safetensors` for models of this store, `gguf` for others.
    #[serde(default)]
    pub model_format: String,
    /// The family of a GGUF model, such as `llama`; empty in safetensors models.
    #[serde(default)]
    pub model_family: String,
    /// All families of a GGUF model, those of its encoders included; `None` in safetensors models.
    #[serde(default)]
    pub model_families: Option<Vec<String>>,
    /// The size of a GGUF model in words, such as `8.0B`; empty in safetensors models.
    #[serde(default)]
    pub model_type: String,
    /// The scheme of the weights, such as `int4`, if all quantized weights are meant to share one; else empty.
    #[serde(default)]
    pub file_type: String,
    /// Name of the runtime's template that turns messages into a prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renderer: Option<String>,
    /// Name of the runtime's parser that reads the model's answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parser: Option<String>,
    /// The oldest runtime version that can run the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires: Option<String>,
    /// The host that runs a model which is not here: unused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_host: Option<String>,
    /// The model's name there: unused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_model: Option<String>,
    /// Capabilities of the model, `completion` first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// The longest context, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u64>,
    /// Elements of the residual stream: the hidden size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_length: Option<u64>,
    /// The model that this one was made from: unused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_name: Option<String>,
    /// The draft model stored with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Draft>,
    /// The processor architecture of a container image: unused.
    #[serde(default)]
    pub architecture: String,
    /// The operating system of a container image: unused.
    #[serde(default)]
    pub os: String,
    /// The tensor table, which this project adds; absent in a model that ollama wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longshore: Option<Arc<TensorTable>>,
}

/// A small model that is stored beside a target and guesses what it will say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Draft {
    /// `safetensors`.
    pub model_format: String,
    /// The class that runs it.
    pub architecture: String,
    /// Prefix of the names of its tensors.
    pub tensor_prefix: String,
    /// The layer that is its `config.json`.
    pub config: String,
}

/// The record of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Import {
    /// `float` or another kind of source.
    pub kind: String,
    /// The requested scheme; absent for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantize: Option<String>,
    /// The policy that chose a scheme for each tensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The profile by which codes were chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The digest of the file that weighted the choice of codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub importance: Option<Digest>,
    /// The `__metadata__` of the source's files.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl Draft {
    /// A draft model of this architecture, with the names that import gives it.
    #[must_use]
    pub fn new(architecture: impl Into<String>) -> Self {
        Self {
            model_format: "safetensors".into(),
            architecture: architecture.into(),
            tensor_prefix: "draft.".into(),
            config: "draft/config.json".into(),
        }
    }

    /// Whether the stored tensor of this name is the draft model's.
    #[must_use]
    pub fn has(&self, tensor: &str) -> bool {
        !self.tensor_prefix.is_empty() && tensor.starts_with(&self.tensor_prefix)
    }
}

impl Config {
    /// The config of a safetensors model with this table.
    #[must_use]
    pub fn new(table: TensorTable) -> Self {
        Self {
            model_format: "safetensors".into(),
            file_type: file_type(&table),
            capabilities: vec!["completion".into()],
            context_length: table.facts.context_length,
            embedding_length: table.facts.hidden_size,
            longshore: Some(Arc::new(table)),
            ..Self::default()
        }
    }

    /// Parses a config document.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Json`] for anything but a config, [`DocumentError::Version`] and [`DocumentError::Inconsistent`] for a
    /// tensor table that cannot be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let config: Self = parse("config", bytes)?;
        if let Some(table) = &config.longshore {
            table.check()?;
        }
        Ok(config)
    }

    /// The document: one line of JSON and a newline.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_line(self)
    }
}

/// The type that was asked for, without its group, if it had any effect. Without a request, the only type that there is: a
/// mixture has none.
fn file_type(table: &TensorTable) -> String {
    let mut types: Vec<&str> =
        table.tensors().filter_map(|(_, tensor)| Some(&*tensor.quantization.as_ref()?.quant_type)).collect();
    types.sort_unstable();
    types.dedup();
    match (&table.import.quantize, types.as_slice()) {
        (_, []) => String::new(),
        (Some(asked), _) => asked.split('-').next().unwrap_or_default().to_owned(),
        (None, [only]) => (*only).to_owned(),
        (None, _) => String::new(),
    }
}
