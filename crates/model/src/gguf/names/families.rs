//! The name map as data.

use super::{
    form::{Form, Heads},
    row::{Family, Row, module, whole},
};

/// All families, in no order: no architecture is in two.
pub(super) static FAMILIES: &[Family] = &[
    Family { layer: &[ROTARY, MIXTRAL, LLAMA], ..of(&["llama"]) },
    Family { layer: &[ROTARY, LLAMA], ..of(&["granite", "minicpm", "olmo"]) },
    Family { layer: &[ROTARY, GRANITE_MOE, LLAMA], ..of(&["granitemoe"]) },
    Family { layer: &[LLAMA], ..of(&["qwen2", "qwen3", "command-r", "cohere2"]) },
    Family { layer: &[QWEN_MOE, LLAMA], ..of(&["qwen2moe", "qwen3moe"]) },
    Family { layer: &[LLAMA], norms_plus_one: Some(&[]), ..of(&["gemma"]) },
    Family { layer: &[GEMMA, LLAMA], norms_plus_one: Some(&[]), ..of(&["gemma2", "gemma3"]) },
    Family { layer: &[PHI3, LLAMA], ..of(&["phi3"]) },
    Family { layer: &[OLMO2, LLAMA], ..of(&["olmo2", "exaone4"]) },
    Family { layer: &[GLM4, LLAMA], ..of(&["glm4"]) },
    Family { layer: &[DEEPSEEK, LLAMA], ..of(&["deepseek2"]) },
    Family { layer: &[GPT_OSS, LLAMA], ..of(&["gpt-oss"]) },
    Family { layer: &[QWEN3_NEXT, QWEN_MOE, LLAMA], norms_plus_one: Some(&["ssm_norm"]), ..of(&["qwen3next"]) },
    Family { model: &[LFM2_MODEL, OWN], layer: &[LFM2], ..of(&["lfm2"]) },
    Family {
        layers: "backbone.layers.",
        model: &[BACKBONE, OWN],
        layer: &[NEMOTRON_H, STATE_SPACE, GROUPED],
        ..of(&["nemotron_h", "nemotron_h_moe"])
    },
    Family { layers: "backbone.layers.", model: &[BACKBONE, OWN], layer: &[STATE_SPACE, GROUPED], ..of(&["mamba2"]) },
    Family { layers: "backbone.layers.", model: &[BACKBONE, OWN], layer: &[STATE_SPACE, MAMBA], ..of(&["mamba"]) },
];

const fn of(architectures: &'static [&'static str]) -> Family {
    Family { architectures, layers: "model.layers.", model: &[MODEL, OWN], layer: &[], norms_plus_one: None }
}

const MODEL: &[Row] =
    &[module("token_embd", "model.embed_tokens"), module("output_norm", "model.norm"), module("output", "lm_head")];

const BACKBONE: &[Row] = &[
    module("token_embd", "backbone.embeddings"),
    module("output_norm", "backbone.norm_f"),
    module("output", "lm_head"),
];

const LFM2_MODEL: &[Row] = &[
    module("token_embd", "model.embed_tokens"),
    module("token_embd_norm", "model.embedding_norm"),
    module("output", "lm_head"),
];

/// Tensors that a checkpoint does not have, because its configuration states what they hold.
const OWN: &[Row] = &[
    whole("rope_freqs.weight", "rope_freqs.weight").as_form(Form::Own),
    whole("rope_factors_long.weight", "rope_factors_long.weight").as_form(Form::Own),
    whole("rope_factors_short.weight", "rope_factors_short.weight").as_form(Form::Own),
];

const LLAMA: &[Row] = &[
    module("attn_norm", "input_layernorm"),
    module("ffn_norm", "post_attention_layernorm"),
    module("attn_q", "self_attn.q_proj"),
    module("attn_k", "self_attn.k_proj"),
    module("attn_v", "self_attn.v_proj"),
    module("attn_output", "self_attn.o_proj"),
    module("attn_q_norm", "self_attn.q_norm"),
    module("attn_k_norm", "self_attn.k_norm"),
    module("ffn_gate", "mlp.gate_proj"),
    module("ffn_up", "mlp.up_proj"),
    module("ffn_down", "mlp.down_proj"),
    module("ffn_gate_inp", "mlp.gate"),
    whole("exp_probs_b.bias", "mlp.gate.e_score_correction_bias"),
    module("ffn_gate_exps", "mlp.experts.gate_proj"),
    module("ffn_up_exps", "mlp.experts.up_proj"),
    module("ffn_down_exps", "mlp.experts.down_proj"),
    whole("ffn_gate_up_exps.weight", "mlp.experts.gate_proj.weight").split(0, 2),
    whole("ffn_gate_up_exps.weight", "mlp.experts.up_proj.weight").split(1, 2),
    module("ffn_gate_shexp", "mlp.shared_experts.gate_proj"),
    module("ffn_up_shexp", "mlp.shared_experts.up_proj"),
    module("ffn_down_shexp", "mlp.shared_experts.down_proj"),
];

const ROTARY: &[Row] = &[
    module("attn_q", "self_attn.q_proj").as_form(Form::Rotary(Heads::Query)),
    module("attn_k", "self_attn.k_proj").as_form(Form::Rotary(Heads::Key)),
];

const MIXTRAL: &[Row] = &[
    module("ffn_gate_inp", "block_sparse_moe.gate"),
    module("ffn_gate_exps", "block_sparse_moe.experts.w1"),
    module("ffn_up_exps", "block_sparse_moe.experts.w3"),
    module("ffn_down_exps", "block_sparse_moe.experts.w2"),
    whole("ffn_gate_up_exps.weight", "block_sparse_moe.experts.w1.weight").split(0, 2),
    whole("ffn_gate_up_exps.weight", "block_sparse_moe.experts.w3.weight").split(1, 2),
];

const GRANITE_MOE: &[Row] = &[
    module("ffn_gate_inp", "block_sparse_moe.router.layer"),
    whole("ffn_gate_exps.weight", "block_sparse_moe.input_linear.weight").joined(0, 2, 1),
    whole("ffn_up_exps.weight", "block_sparse_moe.input_linear.weight").joined(1, 2, 1),
    module("ffn_down_exps", "block_sparse_moe.output_linear"),
    whole("ffn_gate_shexp.weight", "shared_mlp.input_linear.weight").joined(0, 2, 0),
    whole("ffn_up_shexp.weight", "shared_mlp.input_linear.weight").joined(1, 2, 0),
    module("ffn_down_shexp", "shared_mlp.output_linear"),
];

const QWEN_MOE: &[Row] = &[
    module("ffn_gate_inp_shexp", "mlp.shared_expert_gate"),
    module("ffn_gate_shexp", "mlp.shared_expert.gate_proj"),
    module("ffn_up_shexp", "mlp.shared_expert.up_proj"),
    module("ffn_down_shexp", "mlp.shared_expert.down_proj"),
];

const GEMMA: &[Row] = &[
    module("ffn_norm", "pre_feedforward_layernorm"),
    module("post_attention_norm", "post_attention_layernorm"),
    module("post_ffw_norm", "post_feedforward_layernorm"),
];

const PHI3: &[Row] = &[module("attn_qkv", "self_attn.qkv_proj"), module("ffn_up", "mlp.gate_up_proj")];

const OLMO2: &[Row] =
    &[module("post_attention_norm", "post_attention_layernorm"), module("post_ffw_norm", "post_feedforward_layernorm")];

const GLM4: &[Row] = &[
    module("ffn_up", "mlp.gate_up_proj"),
    module("post_attention_norm", "post_self_attn_layernorm"),
    module("post_ffw_norm", "post_mlp_layernorm"),
];

const DEEPSEEK: &[Row] = &[
    module("attn_q_a", "self_attn.q_a_proj"),
    module("attn_q_a_norm", "self_attn.q_a_layernorm"),
    module("attn_q_b", "self_attn.q_b_proj"),
    module("attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"),
    module("attn_kv_a_norm", "self_attn.kv_a_layernorm"),
    module("attn_kv_b", "self_attn.kv_b_proj"),
    whole("attn_k_b.weight", "self_attn.kv_b_proj.weight").as_form(Form::LatentKeys),
    whole("attn_v_b.weight", "self_attn.kv_b_proj.weight").as_form(Form::LatentValues),
];

const GPT_OSS: &[Row] = &[
    module("post_attention_norm", "post_attention_layernorm"),
    whole("attn_sinks.weight", "self_attn.sinks"),
    module("ffn_gate_inp", "mlp.router"),
    whole("ffn_gate_exps.weight", "mlp.experts.gate_up_proj").interleaved(0, 2),
    whole("ffn_up_exps.weight", "mlp.experts.gate_up_proj").interleaved(1, 2),
    whole("ffn_down_exps.weight", "mlp.experts.down_proj"),
    whole("ffn_gate_exps.bias", "mlp.experts.gate_up_proj_bias").interleaved(0, 2),
    whole("ffn_up_exps.bias", "mlp.experts.gate_up_proj_bias").interleaved(1, 2),
    whole("ffn_down_exps.bias", "mlp.experts.down_proj_bias"),
];

/// `in_proj_qkvz` is not here: `attn_qkv` and `attn_gate` keep their names.
const QWEN3_NEXT: &[Row] = &[
    module("post_attention_norm", "post_attention_layernorm"),
    module("ssm_ba", "linear_attn.in_proj_ba"),
    whole("ssm_a", "linear_attn.A_log").as_form(Form::NegativeExponential),
    whole("ssm_dt.bias", "linear_attn.dt_bias"),
    whole("ssm_conv1d.weight", "linear_attn.conv1d.weight").as_form(Form::Convolution),
    module("ssm_norm", "linear_attn.norm"),
    module("ssm_out", "linear_attn.out_proj"),
];

const LFM2: &[Row] = &[
    module("attn_norm", "operator_norm"),
    module("ffn_norm", "ffn_norm"),
    whole("shortconv.conv.weight", "conv.conv.weight").as_form(Form::Convolution),
    module("shortconv.conv", "conv.conv"),
    module("shortconv.in_proj", "conv.in_proj"),
    module("shortconv.out_proj", "conv.out_proj"),
    module("attn_q", "self_attn.q_proj"),
    module("attn_k", "self_attn.k_proj"),
    module("attn_v", "self_attn.v_proj"),
    module("attn_output", "self_attn.out_proj"),
    module("attn_q_norm", "self_attn.q_layernorm"),
    module("attn_k_norm", "self_attn.k_layernorm"),
    module("ffn_gate", "feed_forward.w1"),
    module("ffn_up", "feed_forward.w3"),
    module("ffn_down", "feed_forward.w2"),
];

const STATE_SPACE: &[Row] = &[
    module("attn_norm", "norm"),
    module("ssm_in", "mixer.in_proj"),
    module("ssm_x", "mixer.x_proj"),
    module("ssm_out", "mixer.out_proj"),
    whole("ssm_conv1d.weight", "mixer.conv1d.weight").as_form(Form::Convolution),
    module("ssm_conv1d", "mixer.conv1d"),
];

const NEMOTRON_H: &[Row] = &[
    module("attn_q", "mixer.q_proj"),
    module("attn_k", "mixer.k_proj"),
    module("attn_v", "mixer.v_proj"),
    module("attn_output", "mixer.o_proj"),
    module("ffn_up", "mixer.up_proj"),
    module("ffn_down", "mixer.down_proj"),
    module("ffn_gate_inp", "mixer.gate"),
    whole("exp_probs_b.bias", "mixer.gate.e_score_correction_bias"),
    module("ffn_up_exps", "mixer.experts.up_proj"),
    module("ffn_down_exps", "mixer.experts.down_proj"),
    module("ffn_up_shexp", "mixer.shared_experts.up_proj"),
    module("ffn_down_shexp", "mixer.shared_experts.down_proj"),
];

/// The state space of Mamba 2, whose heads and groups have axes of their own in GGUF.
const GROUPED: &[Row] = &[
    whole("ssm_a", "mixer.A_log").as_form(Form::NegativeExponential),
    whole("ssm_d", "mixer.D").as_form(Form::Flat),
    whole("ssm_dt.bias", "mixer.dt_bias"),
    whole("ssm_norm.weight", "mixer.norm.weight").as_form(Form::Flat),
];

const MAMBA: &[Row] = &[
    module("ssm_dt", "mixer.dt_proj"),
    whole("ssm_a", "mixer.A_log").as_form(Form::NegativeExponential),
    whole("ssm_d", "mixer.D"),
];
