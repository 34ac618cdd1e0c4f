//! Facts about a model that a decoder, a tokenizer or a planner needs.

mod attention;
mod beside;
pub(crate) mod check;
mod contradiction;
mod encoders;
mod experts;
pub(crate) mod read;
mod rope;
pub(crate) mod shapes;
mod unknown;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;

pub use attention::{Attention, LatentAttention, LinearAttention, PerLayer, StateSpace};
pub use contradiction::{Contradiction, Statement};
pub use encoders::{Audio, Vision};
pub use experts::Router;
pub use rope::Rope;
use unknown::is_default;

/// Facts about a model, taken from its `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Class that runs the model, such as `Qwen3MoeForCausalLM`.
    #[serde(skip_serializing_if = "is_default")]
    pub architecture: Option<String>,
    /// Model family, such as `qwen3_moe`.
    #[serde(skip_serializing_if = "is_default")]
    pub model_type: Option<String>,
    /// Class that runs each component of a pipeline, by the component's name. Empty for any other model.
    #[serde(skip_serializing_if = "is_default")]
    pub components: BTreeMap<String, String>,
    /// Number of layers. For a model with an encoder and a decoder, the number of encoder layers.
    #[serde(skip_serializing_if = "is_default")]
    pub layers: Option<u64>,
    /// Number of decoder layers of a model that also has an encoder.
    #[serde(skip_serializing_if = "is_default")]
    pub decoder_layers: Option<u64>,
    /// Hidden size: elements of the residual stream.
    #[serde(skip_serializing_if = "is_default")]
    pub hidden_size: Option<u64>,
    /// Elements between the two projections of a dense feed-forward block.
    #[serde(skip_serializing_if = "is_default")]
    pub intermediate_size: Option<u64>,
    /// Number of query heads per layer.
    #[serde(skip_serializing_if = "is_default")]
    pub heads: Option<u64>,
    /// Number of key and value heads per layer.
    #[serde(skip_serializing_if = "is_default")]
    pub kv_heads: Option<u64>,
    /// Number of elements per head.
    #[serde(skip_serializing_if = "is_default")]
    pub head_dim: Option<u64>,
    /// Number of routed experts per layer.
    #[serde(skip_serializing_if = "is_default")]
    pub experts: Option<u64>,
    /// Number of routed experts that one token uses.
    #[serde(skip_serializing_if = "is_default")]
    pub experts_per_token: Option<u64>,
    /// Number of experts that every token uses in addition to its routed experts.
    #[serde(skip_serializing_if = "is_default")]
    pub shared_experts: Option<u64>,
    /// Longest context, in tokens.
    #[serde(skip_serializing_if = "is_default")]
    pub context_length: Option<u64>,
    /// Rotary position embedding: how positions become rotations of queries and keys.
    #[serde(skip_serializing_if = "is_default")]
    pub rope: Option<Rope>,
    /// Size of the vocabulary, in tokens.
    #[serde(skip_serializing_if = "is_default")]
    pub vocabulary: Option<u64>,
    /// Number of layers after the others that predict further tokens.
    #[serde(skip_serializing_if = "is_default")]
    pub draft_layers: Option<u64>,
    /// Elements between the two projections of one routed expert.
    #[serde(skip_serializing_if = "is_default")]
    pub expert_intermediate_size: Option<u64>,
    /// Layers that have one feed-forward block instead of experts, in ascending order.
    #[serde(skip_serializing_if = "is_default")]
    pub dense_layers: Option<Vec<u64>>,
    /// Mixer of the tokens in each layer, such as `full_attention`, `sliding_attention` or `linear_attention`. Empty if all
    /// layers are alike.
    #[serde(skip_serializing_if = "is_default")]
    pub layer_types: Vec<String>,
    /// Sizes of each layer, where layers differ.
    #[serde(skip_serializing_if = "is_default")]
    pub per_layer: PerLayer,
    /// Whether the output head shares the weights of the token embedding.
    #[serde(skip_serializing_if = "is_default")]
    pub tied_embeddings: Option<bool>,
    /// Whether the embedding of a token is multiplied by the square root of the hidden size.
    #[serde(skip_serializing_if = "is_default")]
    pub scales_embeddings: Option<bool>,
    /// Activation of the feed-forward blocks, such as `silu`.
    #[serde(skip_serializing_if = "is_default")]
    pub activation: Option<String>,
    /// Bound of the values that enter the activation, as gpt-oss has it.
    #[serde(skip_serializing_if = "is_default")]
    pub activation_limit: Option<Number>,
    /// Whether the projections of the feed-forward blocks have biases.
    #[serde(skip_serializing_if = "is_default")]
    pub mlp_bias: Option<bool>,
    /// Normalisation.
    #[serde(skip_serializing_if = "is_default")]
    pub norm: Norm,
    /// Attention, apart from its sizes.
    #[serde(skip_serializing_if = "is_default")]
    pub attention: Attention,
    /// Bound to which the logits are drawn: `cap × tanh(logit / cap)`.
    #[serde(skip_serializing_if = "is_default")]
    pub logit_soft_cap: Option<Number>,
    /// Factors of the residual stream.
    #[serde(skip_serializing_if = "is_default")]
    pub multipliers: Multipliers,
    /// Routing: the choice of a token's experts.
    #[serde(skip_serializing_if = "is_default")]
    pub router: Option<Router>,
    /// Layers that carry a state from token to token, as Mamba's do.
    #[serde(skip_serializing_if = "is_default")]
    pub state_space: Option<StateSpace>,
    /// Layers of linear attention.
    #[serde(skip_serializing_if = "is_default")]
    pub linear_attention: Option<LinearAttention>,
    /// Tokens with a meaning of their own.
    #[serde(skip_serializing_if = "is_default")]
    pub tokens: Tokens,
    /// Chat template, in Jinja. Most models have it in another file than `config.json`; [`Facts::add_template`] adds it.
    #[serde(skip_serializing_if = "is_default")]
    pub chat_template: Option<String>,
    /// Encoder of pictures.
    #[serde(skip_serializing_if = "is_default")]
    pub vision: Option<Vision>,
    /// Encoder of sound.
    #[serde(skip_serializing_if = "is_default")]
    pub audio: Option<Audio>,
}

/// Normalisation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Norm {
    /// `rms` for division by the root of the mean square, `layer` for subtraction of the mean as well.
    #[serde(skip_serializing_if = "is_default")]
    pub kind: Option<String>,
    /// Addition to the mean square or to the variance.
    #[serde(skip_serializing_if = "is_default")]
    pub eps: Option<Number>,
    /// Whether the factor of an element is its weight plus one.
    #[serde(skip_serializing_if = "is_default")]
    pub adds_one: Option<bool>,
}

/// Factors of the residual stream, as Granite has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Multipliers {
    /// Factor of the embedding of a token.
    #[serde(skip_serializing_if = "is_default")]
    pub embedding: Option<Number>,
    /// Factor of what a block adds to the residual stream.
    #[serde(skip_serializing_if = "is_default")]
    pub residual: Option<Number>,
    /// Factor of the product of a query and a key, in place of one over the root of the head's size.
    #[serde(skip_serializing_if = "is_default")]
    pub attention: Option<Number>,
    /// Divisor of the logits.
    #[serde(skip_serializing_if = "is_default")]
    pub logits_divisor: Option<Number>,
    /// Factor of the logits.
    #[serde(skip_serializing_if = "is_default")]
    pub logits: Option<Number>,
}

/// Tokens with a meaning of their own, by their numbers in the vocabulary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// Token before a text.
    #[serde(skip_serializing_if = "is_default")]
    pub bos: Option<u64>,
    /// Tokens that end an answer.
    #[serde(skip_serializing_if = "is_default")]
    pub eos: Vec<u64>,
    /// Token that fills a batch.
    #[serde(skip_serializing_if = "is_default")]
    pub pad: Option<u64>,
}
