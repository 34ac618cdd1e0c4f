//! Shape of a decoder, with every switch that its layers depend on.

use super::rope::RopeSpec;

/// Shape of a decoder.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Spec {
    pub(crate) hidden: usize,
    pub(crate) vocabulary: usize,
    /// Longest sequence, in tokens.
    pub(crate) context: usize,
    /// Number of positions that are learned, and added to the embeddings. `None` where there are none.
    pub(crate) positions: Option<usize>,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    /// Elements of a query and of a key, per head.
    pub(crate) head_dim: usize,
    /// Elements of a value, per head.
    pub(crate) value_dim: usize,
    pub(crate) latent: Option<Latent>,
    pub(crate) norm: NormSpec,
    pub(crate) norms: NormNames,
    pub(crate) qk_norm: QkNorm,
    /// Factor of the product of a query and a key.
    pub(crate) attention_scale: f32,
    pub(crate) attention_cap: Option<f32>,
    pub(crate) sinks: bool,
    pub(crate) layers: Vec<LayerSpec>,
    pub(crate) ropes: Vec<RopeSpec>,
    pub(crate) activation: Activation,
    /// Whether the activation of one projection gates another projection.
    pub(crate) gated: bool,
    pub(crate) intermediate: usize,
    pub(crate) moe: Option<MoeSpec>,
    /// Whether attention and feed-forward block read the same input, and are added together.
    pub(crate) parallel: bool,
    pub(crate) embedding_scale: f32,
    pub(crate) residual_scale: f32,
    pub(crate) logit_scale: f32,
    pub(crate) logit_cap: Option<f32>,
    /// Whether the head may be the embedding.
    pub(crate) tied: bool,
}

/// Shape of one layer.
#[derive(Debug, Clone)]
pub(crate) struct LayerSpec {
    /// Number of tokens that a token looks back over, itself included. `None` for all of them.
    pub(crate) window: Option<usize>,
    /// Index of the rotation in [`Spec::ropes`], if queries and keys are rotated.
    pub(crate) rope: Option<usize>,
    /// Whether the feed-forward block consists of experts.
    pub(crate) has_experts: bool,
}

/// Sizes of latent attention.
#[derive(Debug, Clone)]
pub(crate) struct Latent {
    /// Elements of the compressed query. `None` if queries are not compressed.
    pub(crate) q_rank: Option<usize>,
    pub(crate) kv_rank: usize,
    pub(crate) nope: usize,
    pub(crate) rope: usize,
}

/// Normalisation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormSpec {
    /// Whether the mean is subtracted.
    pub(crate) centres: bool,
    pub(crate) eps: f32,
    /// Whether the factor is the weight plus one.
    pub(crate) adds_one: bool,
}

/// Names of the norms of a layer: before and after attention, before and after the feed-forward block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormNames {
    pub(crate) attention_in: Option<&'static str>,
    pub(crate) attention_out: Option<&'static str>,
    pub(crate) ffn_in: Option<&'static str>,
    pub(crate) ffn_out: Option<&'static str>,
}

/// Normalisation of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QkNorm {
    None,
    /// Each head by itself, with the same weights for each.
    Head,
    /// All heads of a token together.
    Row,
}

/// Activation of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Activation {
    Silu,
    GeluTanh,
    Gelu,
    Relu,
    /// gpt-oss's: both inputs are clamped, and the gate passes through a sigmoid of 1.702 times itself.
    Clamped {
        limit: f32,
    },
}

/// Experts and their router.
#[derive(Debug, Clone)]
pub(crate) struct MoeSpec {
    pub(crate) experts: usize,
    pub(crate) top_k: usize,
    pub(crate) intermediate: usize,
    /// Whether scores are sigmoids of the router's logits, rather than their softmax.
    pub(crate) sigmoid: bool,
    pub(crate) normalises: bool,
    pub(crate) scaling: f32,
    /// Number of groups, and number of them whose experts one token may use.
    pub(crate) groups: (usize, usize),
    /// Elements between the two projections of the shared experts together; 0 if there are none.
    pub(crate) shared: usize,
}
