//! Attention, and what other layers have in its place.

use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::unknown::is_default;

/// Attention, apart from its sizes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attention {
    /// Whether the projections to queries, keys and values have biases.
    #[serde(skip_serializing_if = "is_default")]
    pub bias: Option<bool>,
    /// Whether the projection of the output has a bias, where that is stated apart from the others.
    #[serde(skip_serializing_if = "is_default")]
    pub output_bias: Option<bool>,
    /// Whether queries and keys are normalised.
    #[serde(skip_serializing_if = "is_default")]
    pub qk_norm: Option<bool>,
    /// Whether the projection to queries also gives a gate for each element of the output.
    #[serde(skip_serializing_if = "is_default")]
    pub output_gate: Option<bool>,
    /// Whether each head has a logit that takes a share of the attention and gives no value.
    #[serde(skip_serializing_if = "is_default")]
    pub sinks: Option<bool>,
    /// Number of tokens that a layer of local attention looks back over. `None` if no layer is local.
    #[serde(skip_serializing_if = "is_default")]
    pub window: Option<u64>,
    /// Number of tokens in a chunk, for layers whose attention stays within a chunk.
    #[serde(skip_serializing_if = "is_default")]
    pub chunk: Option<u64>,
    /// Bound to which the products of queries and keys are drawn: `cap × tanh(product / cap)`.
    #[serde(skip_serializing_if = "is_default")]
    pub soft_cap: Option<Number>,
    /// Number whose inverse root is the factor of the products, in place of the head's size.
    #[serde(skip_serializing_if = "is_default")]
    pub query_scale: Option<Number>,
    /// Layers without rotary position embedding, in ascending order.
    #[serde(skip_serializing_if = "is_default")]
    pub layers_without_rope: Vec<u64>,
    /// Sizes of multi-head latent attention.
    #[serde(skip_serializing_if = "is_default")]
    pub latent: Option<LatentAttention>,
}

/// Sizes of multi-head latent attention, as `DeepSeek` has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LatentAttention {
    /// Elements of the compressed query. `None` if queries are not compressed.
    #[serde(skip_serializing_if = "is_default")]
    pub q_rank: Option<u64>,
    /// Elements of the compressed key and value.
    #[serde(skip_serializing_if = "is_default")]
    pub kv_rank: Option<u64>,
    /// Elements of a query and a key that are not rotated, per head.
    #[serde(skip_serializing_if = "is_default")]
    pub nope_head_dim: Option<u64>,
    /// Elements of a query and a key that are rotated, per head.
    #[serde(skip_serializing_if = "is_default")]
    pub rope_head_dim: Option<u64>,
    /// Elements of a value, per head.
    #[serde(skip_serializing_if = "is_default")]
    pub value_head_dim: Option<u64>,
}

/// Sizes of layers of linear attention, as Qwen3-Next has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinearAttention {
    /// Number of key heads.
    #[serde(skip_serializing_if = "is_default")]
    pub key_heads: Option<u64>,
    /// Number of value heads.
    #[serde(skip_serializing_if = "is_default")]
    pub value_heads: Option<u64>,
    /// Elements of a key, per head.
    #[serde(skip_serializing_if = "is_default")]
    pub key_head_dim: Option<u64>,
    /// Elements of a value, per head.
    #[serde(skip_serializing_if = "is_default")]
    pub value_head_dim: Option<u64>,
    /// Tokens that the convolution before the attention covers.
    #[serde(skip_serializing_if = "is_default")]
    pub conv_width: Option<u64>,
}

/// Sizes of layers that carry a state from token to token, as Mamba has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateSpace {
    /// Elements of the state, per channel.
    #[serde(skip_serializing_if = "is_default")]
    pub state_size: Option<u64>,
    /// Number of heads.
    #[serde(skip_serializing_if = "is_default")]
    pub heads: Option<u64>,
    /// Elements per head.
    #[serde(skip_serializing_if = "is_default")]
    pub head_dim: Option<u64>,
    /// Number of groups of heads that share their input and output matrices.
    #[serde(skip_serializing_if = "is_default")]
    pub groups: Option<u64>,
    /// Number of channels.
    #[serde(skip_serializing_if = "is_default")]
    pub inner_size: Option<u64>,
    /// Number of channels over the hidden size, where that is stated instead.
    #[serde(skip_serializing_if = "is_default")]
    pub expand: Option<Number>,
    /// Tokens that the convolution covers.
    #[serde(skip_serializing_if = "is_default")]
    pub conv_width: Option<u64>,
    /// Whether the convolution has a bias.
    #[serde(skip_serializing_if = "is_default")]
    pub conv_bias: Option<bool>,
    /// Whether the projections have biases.
    #[serde(skip_serializing_if = "is_default")]
    pub projection_bias: Option<bool>,
    /// Tokens that are computed at a time.
    #[serde(skip_serializing_if = "is_default")]
    pub chunk: Option<u64>,
    /// Elements from which the step of a channel is computed.
    #[serde(skip_serializing_if = "is_default")]
    pub step_rank: Option<u64>,
    /// Least step at initialisation.
    #[serde(skip_serializing_if = "is_default")]
    pub step_floor: Option<Number>,
    /// Least step.
    #[serde(skip_serializing_if = "is_default")]
    pub step_min: Option<Number>,
    /// Greatest step.
    #[serde(skip_serializing_if = "is_default")]
    pub step_max: Option<Number>,
}

/// Sizes of each layer, where layers differ. A list is empty if they do not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PerLayer {
    /// Number of query heads.
    #[serde(skip_serializing_if = "is_default")]
    pub heads: Vec<u64>,
    /// Number of key and value heads.
    #[serde(skip_serializing_if = "is_default")]
    pub kv_heads: Vec<u64>,
    /// Number of elements per head.
    #[serde(skip_serializing_if = "is_default")]
    pub head_dim: Vec<u64>,
    /// Elements between the two projections of a dense feed-forward block.
    #[serde(skip_serializing_if = "is_default")]
    pub intermediate_size: Vec<u64>,
}
