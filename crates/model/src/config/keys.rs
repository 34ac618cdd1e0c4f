//! Names that model families give to the members of `config.json`.

/// Members that hold the configuration of a nested language model, in the order in which they are tried.
pub const NESTED: &[&str] =
    &["text_config", "llm_config", "language_config", "language_model_config", "thinker_config", "decoder"];
/// Maximum depth to which [`NESTED`] members nest, as in `thinker_config.text_config`.
pub(crate) const NESTING: usize = 3;

/// Members that describe how weights are quantized, in the order in which they are tried.
pub const QUANTIZATION: &[&str] = &["quantization", "quantization_config", "compression_config"];
/// File beside `config.json` in which `ModelOpt` describes how weights are quantized.
pub const QUANTIZATION_FILE: &str = "hf_quant_config.json";
/// Members that hold torch's name of the weights' type.
pub const DTYPE: &[&str] = &["dtype", "torch_dtype"];

/// Name of the number of layers that nearly all families use.
pub(crate) const STATED_LAYERS: &str = "num_hidden_layers";
pub(crate) const LAYERS: &[&str] =
    &[STATED_LAYERS, "n_layer", "n_layers", "num_layers", "num_blocks", "encoder_layers"];
/// Lists and patterns with one entry per layer. Their length is the number of layers where no member states it.
pub(crate) const LAYER_LISTS: &[&str] =
    &["layers_block_type", "layer_types", "hybrid_override_pattern", "mlp_layer_types", "block_types"];
pub(crate) const DECODER_LAYERS: &[&str] = &["num_decoder_layers", "decoder_layers"];
pub(crate) const DRAFT_LAYERS: &[&str] = &["num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers"];
pub(crate) const HIDDEN: &[&str] = &["hidden_size", "n_embd", "d_model", "dim"];
pub(crate) const INTERMEDIATE: &[&str] =
    &["intermediate_size", "n_inner", "ffn_hidden_size", "ffn_dim", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim"];
pub(crate) const EXPERT_INTERMEDIATE: &[&str] = &["moe_intermediate_size", "expert_ffn_hidden_size", "moe_ffn_dim"];
pub(crate) const HEADS: &[&str] =
    &["num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads", "decoder_attention_heads"];
pub(crate) const KV_HEADS: &[&str] = &[
    "num_key_value_heads",
    "num_kv_heads",
    "n_kv_heads",
    "n_head_kv",
    "multi_query_group_num",
    "num_attention_groups",
];
pub(crate) const HEAD_DIM: &[&str] =
    &["head_dim", "d_kv", "attention_head_dim", "kv_channels", "attention_head_size", "head_size", "d_head"];
pub(crate) const EXPERTS: &[&str] = &[
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "num_routed_experts",
    "moe_num_experts",
    "moe_num_primary_experts",
];
pub(crate) const EXPERTS_PER_TOKEN: &[&str] = &[
    "num_experts_per_tok",
    "num_experts_per_token",
    "experts_per_token",
    "top_k_experts",
    "moe_top_k",
    "moe_topk",
    "moe_k",
    "moe_num_active_primary_experts",
];
pub(crate) const SHARED_EXPERTS: &[&str] = &["n_shared_experts", "num_shared_experts", "num_shared_expert"];
pub(crate) const CONTEXT: &[&str] = &[
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
];
pub(crate) const VOCAB: &[&str] = &["vocab_size", "padded_vocab_size", "n_vocab"];
pub(crate) const ACTIVATION: &[&str] =
    &["hidden_act", "hidden_activation", "mlp_hidden_act", "activation_function", "hidden_activation_function"];
/// Members that hold the addition of a norm: of one that divides by the mean square, of one that subtracts the mean as
/// well, and of either.
pub(crate) const RMS_EPS: &[&str] = &["rms_norm_eps", "rms_norm_epsilon"];
pub(crate) const LAYER_EPS: &[&str] = &["layer_norm_eps", "layer_norm_epsilon", "layernorm_epsilon", "norm_epsilon"];
pub(crate) const NORM_EPS: &[&str] = &["norm_eps", "block_norm_eps"];

/// Configurations of picture and of sound encoders. A model has the encoder if the member is an object.
pub(crate) const VISION: &[&str] = &["vision_config"];
pub(crate) const AUDIO: &[&str] = &["audio_config", "sound_config"];
