//! The facts about a model that a store keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;

/// What a model is, from its `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// The class that runs it, such as `Qwen3MoeForCausalLM`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The family, such as `qwen3_moe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_type: Option<String>,
    /// Of a pipeline: the class that runs each component.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, String>,
    /// The number of layers; of a model with an encoder and a decoder, the encoder's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<u64>,
    /// The number of the decoder's layers, in a model that has an encoder too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder_layers: Option<u64>,
    /// Elements of the residual stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_size: Option<u64>,
    /// Elements between the two projections of a dense feed-forward block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intermediate_size: Option<u64>,
    /// The number of attention heads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<u64>,
    /// The number of key and value heads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<u64>,
    /// The number of elements of a head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<u64>,
    /// The number of routed experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<u64>,
    /// The number of experts that a token goes through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts_per_token: Option<u64>,
    /// The number of experts that every token goes through besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_experts: Option<u64>,
    /// The longest context, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u64>,
    /// How positions are turned into rotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope: Option<Rope>,
    /// The number of tokens in the vocabulary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<u64>,
}

/// How positions are turned into rotations of queries and keys. Numbers are as `config.json` has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rope {
    /// The base of the frequencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theta: Option<Number>,
    /// The base in layers of local attention, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_theta: Option<Number>,
    /// How the context is stretched, such as `yarn` or `llama3`; absent where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// By how much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<Number>,
    /// The context before that, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_context: Option<u64>,
}
