//! The config document: ollama's fields, the model's facts, and the tensor table.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::Digest;

use super::{
    changes::{Base, Changes},
    manifest::{DocumentError, parse, to_line},
    table::TensorTable,
};

/// Config document of a model. Fields before `base` are ollama's, in ollama's order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Config {
    /// Format of the weights: `safetensors` for models of this store, `gguf` for others.
    #[serde(default)]
    pub model_format: String,
    /// Family of a GGUF model, such as `llama`. Empty in safetensors models.
    #[serde(default)]
    pub model_family: String,
    /// All families of a GGUF model, including those of its encoders. `None` in safetensors models.
    #[serde(default)]
    pub model_families: Option<Vec<String>>,
    /// Size of a GGUF model in words, such as `8.0B`. Empty in safetensors models.
    #[serde(default)]
    pub model_type: String,
    /// Code of the weights, such as `int4`, if one code was meant for all quantized weights. Otherwise empty.
    #[serde(default)]
    pub file_type: String,
    /// Name of the runtime's renderer that turns messages into a prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renderer: Option<String>,
    /// Name of the runtime's parser that reads the model's answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parser: Option<String>,
    /// Oldest runtime version that can run the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires: Option<String>,
    /// Host that runs a remote model. Unused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_host: Option<String>,
    /// Name of a remote model on its host. Unused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_model: Option<String>,
    /// Abilities of the model, `completion` first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Longest context, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u64>,
    /// Hidden size: elements of the residual stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_length: Option<u64>,
    /// Model from which this model was made. Unused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_name: Option<String>,
    /// Draft model that is stored with this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Draft>,
    /// Processor architecture of a container image. Unused.
    #[serde(default)]
    pub architecture: String,
    /// Operating system of a container image. Unused.
    #[serde(default)]
    pub os: String,
    /// Model that this model is an attachment of. `None` for a model by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// Changes of the source's values before they were stored. `None` if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// Additions of this project, with the tensor table. `None` for a model that ollama wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longshore: Option<Arc<TensorTable>>,
}

/// Draft model: a small model that is stored beside a target model and predicts its output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Draft {
    /// Format of the weights: `safetensors`.
    pub model_format: String,
    /// Class that runs the draft model.
    pub architecture: String,
    /// Prefix of the names of the draft model's tensors.
    pub tensor_prefix: String,
    /// Name of the layer that is the draft model's `config.json`.
    pub config: String,
}

/// Record of a model's import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Import {
    /// Kind of source, such as `float`.
    pub kind: String,
    /// Requested scheme. `None` if no quantization was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantize: Option<String>,
    /// Name of the policy that chose a scheme for each tensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Name of the profile that chose the codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Digest of the file whose weights guided the choice of codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub importance: Option<Digest>,
    /// The `__metadata__` of the source's files.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Names of files that the import made of what the weight files say, such as the `tokenizer.json` of a GGUF file. In byte
    /// order. The other files of the model are the source's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub derived: Vec<String>,
}

impl Draft {
    /// Makes a draft model of class `architecture`, with the names that import gives it.
    #[must_use]
    pub fn new(architecture: impl Into<String>) -> Self {
        Self {
            model_format: "safetensors".into(),
            architecture: architecture.into(),
            tensor_prefix: "draft.".into(),
            config: "draft/config.json".into(),
        }
    }

    /// Whether the stored tensor called `tensor` belongs to the draft model.
    #[must_use]
    pub fn has(&self, tensor: &str) -> bool {
        !self.tensor_prefix.is_empty() && tensor.starts_with(&self.tensor_prefix)
    }
}

impl Config {
    /// Makes the config of a safetensors model with this table.
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
    /// [`DocumentError::Json`] if the bytes are not a config document, [`DocumentError::Version`] or
    /// [`DocumentError::Inconsistent`] if the tensor table cannot be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let config: Self = parse("config", bytes)?;
        if let Some(table) = &config.longshore {
            table.check()?;
        }
        Ok(config)
    }

    /// Writes the document as one line of JSON and a newline.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_line(self)
    }
}

/// Computes `file_type`. With a request, it is the requested type without its group size, if the request had any
/// effect. Without a request, it is the type of all quantized tensors, or empty if they have several types.
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
