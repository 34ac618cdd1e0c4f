//! Tensors of a layer of the architectures whose layers are all alike, by the ends of their names within it.

/// The norm before attention.
pub(super) const FIRST: &str = "input_layernorm.weight";
/// The norm before the feed-forward part, of most architectures.
pub(super) const SECOND: &str = "post_attention_layernorm.weight";

/// Weights that read what a norm makes, each with the norm.
pub(super) const READERS: [(&str, &str); 14] = [
    ("self_attn.q_proj.weight", FIRST),
    ("self_attn.k_proj.weight", FIRST),
    ("self_attn.v_proj.weight", FIRST),
    ("self_attn.qkv_proj.weight", FIRST),
    ("mlp.gate_proj.weight", SECOND),
    ("mlp.up_proj.weight", SECOND),
    ("mlp.gate_up_proj.weight", SECOND),
    ("mlp.gate.weight", SECOND),
    ("mlp.experts.gate_proj.weight", SECOND),
    ("mlp.experts.up_proj.weight", SECOND),
    ("mlp.experts.gate_up_proj", SECOND),
    ("block_sparse_moe.gate.weight", SECOND),
    ("block_sparse_moe.experts.w1.weight", SECOND),
    ("block_sparse_moe.experts.w3.weight", SECOND),
];
/// Weights whose products are added to the stream.
pub(super) const WRITERS: [&str; 5] = [
    "self_attn.o_proj.weight",
    "mlp.down_proj.weight",
    "mlp.experts.down_proj.weight",
    "mlp.experts.down_proj",
    "block_sparse_moe.experts.w2.weight",
];
/// Biases that are added to the stream.
pub(super) const BIASES: [&str; 2] = ["self_attn.o_proj.bias", "mlp.down_proj.bias"];
/// Tensors of layers that have nothing to do with the stream, whatever their widths.
pub(super) const OTHERS: [&str; 10] = [
    "self_attn.q_norm.weight",
    "self_attn.k_norm.weight",
    "self_attn.q_proj.bias",
    "self_attn.k_proj.bias",
    "self_attn.v_proj.bias",
    "self_attn.qkv_proj.bias",
    "mlp.gate_proj.bias",
    "mlp.up_proj.bias",
    "mlp.gate_up_proj.bias",
    "self_attn.rotary_emb.inv_freq",
];
