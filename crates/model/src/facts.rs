//! Facts about a model that a store keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;

/// Facts about a model, taken from its `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Class that runs the model, such as `Qwen3MoeForCausalLM`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Model family, such as `qwen3_moe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_type: Option<String>,
    /// Class that runs each component of a pipeline, by the component's name. Empty for any other model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, String>,
    /// Number of layers. For a model with an encoder and a decoder, the number of encoder layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<u64>,
    /// Number of decoder layers of a model that also has an encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder_layers: Option<u64>,
    /// Hidden size: elements of the residual stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_size: Option<u64>,
    /// Elements between the two projections of a dense feed-forward block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intermediate_size: Option<u64>,
    /// Number of query heads per layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<u64>,
    /// Number of key and value heads per layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<u64>,
    /// Number of elements per head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<u64>,
    /// Number of routed experts per layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<u64>,
    /// Number of routed experts that one token uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts_per_token: Option<u64>,
    /// Number of experts that every token uses in addition to its routed experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_experts: Option<u64>,
    /// Longest context, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u64>,
    /// Rotary position embedding: how positions become rotations of queries and keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope: Option<Rope>,
    /// Size of the vocabulary, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<u64>,
}

/// Rotary position embedding: how positions become rotations of queries and keys. Numbers are those of `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rope {
    /// Base of the frequencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theta: Option<Number>,
    /// Base of the frequencies in layers of local attention, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_theta: Option<Number>,
    /// Method that stretches the context, such as `yarn` or `llama3`. `None` if the context is not stretched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Factor by which the context is stretched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<Number>,
    /// Length of the context before stretching, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_context: Option<u64>,
}
