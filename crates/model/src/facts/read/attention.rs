//! Attention, and what other layers have in its place.

use serde_json::Value;

use super::layers;
use crate::{
    config::reader::ConfigReader,
    facts::{Attention, Facts, LatentAttention, LinearAttention, StateSpace},
};

pub(super) fn read(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    let mut attention = Attention {
        bias: reader.flag("attention.bias", &["attention_bias", "qkv_bias", "add_qkv_bias", "use_qkv_bias"]),
        qk_norm: reader.flag("attention.qk_norm", &["use_qk_norm", "qk_norm", "qk_layernorm", "use_qk_layernorm"]),
        chunk: reader.number("attention.chunk", &["attention_chunk_size"]),
        soft_cap: reader.exact("attention.soft_cap", &["attn_logit_softcapping", "attention_logit_cap"]),
        query_scale: reader.exact("attention.query_scale", &["query_pre_attn_scalar"]),
        ..Attention::default()
    };
    if reader.flag("attention.window", &["use_sliding_window"]) != Some(false) {
        attention.window =
            reader.number("attention.window", &["sliding_window", "sliding_window_size", "local_attention"]);
    }
    attention.latent = latent(reader);
    attention.layers_without_rope =
        reader.find("attention.layers_without_rope", &["no_rope_layers"], zeros).unwrap_or_default();
    facts.attention = attention;
    layers::pattern(reader, facts);
    facts.linear_attention = linear(reader);
    facts.state_space = state_space(reader);
}

fn latent(reader: &mut ConfigReader<'_>) -> Option<LatentAttention> {
    let latent = LatentAttention {
        q_rank: reader.number("attention.latent.q_rank", &["q_lora_rank"]),
        kv_rank: reader.number("attention.latent.kv_rank", &["kv_lora_rank"]),
        nope_head_dim: reader.number("attention.latent.nope_head_dim", &["qk_nope_head_dim"]),
        rope_head_dim: reader.number("attention.latent.rope_head_dim", &["qk_rope_head_dim"]),
        value_head_dim: reader.number("attention.latent.value_head_dim", &["v_head_dim"]),
    };
    latent.kv_rank.is_some().then_some(latent)
}

fn linear(reader: &mut ConfigReader<'_>) -> Option<LinearAttention> {
    let linear = LinearAttention {
        key_heads: reader.number("linear_attention.key_heads", &["linear_num_key_heads"]),
        value_heads: reader.number("linear_attention.value_heads", &["linear_num_value_heads"]),
        key_head_dim: reader.number("linear_attention.key_head_dim", &["linear_key_head_dim"]),
        value_head_dim: reader.number("linear_attention.value_head_dim", &["linear_value_head_dim"]),
        conv_width: reader.number("linear_attention.conv_width", &["linear_conv_kernel_dim"]),
    };
    (linear != LinearAttention::default()).then_some(linear)
}

/// Some of the names, such as `expand`, mean something else in a model without a state.
fn state_space(reader: &mut ConfigReader<'_>) -> Option<StateSpace> {
    let size =
        reader.number("state_space.state_size", &["ssm_state_size", "mamba_d_state", "state_size", "d_state"])?;
    Some(StateSpace {
        state_size: Some(size),
        heads: reader.number("state_space.heads", &["mamba_num_heads", "mamba_n_heads", "n_mamba_heads"]),
        head_dim: reader.number("state_space.head_dim", &["mamba_head_dim", "mamba_d_head", "mamba_headdim"]),
        groups: reader.number("state_space.groups", &["mamba_n_groups", "mamba_ngroups", "n_groups"]),
        inner_size: reader.number("state_space.inner_size", &["mamba_d_ssm"]),
        expand: reader.exact("state_space.expand", &["mamba_expand", "expand"]),
        conv_width: reader.number("state_space.conv_width", &["mamba_d_conv", "conv_kernel", "d_conv"]),
        conv_bias: reader.flag("state_space.conv_bias", &["mamba_conv_bias", "use_conv_bias"]),
        projection_bias: reader.flag("state_space.projection_bias", &["mamba_proj_bias", "use_bias"]),
        chunk: reader.number("state_space.chunk", &["mamba_chunk_size", "chunk_size"]),
        step_rank: reader.number("state_space.step_rank", &["mamba_dt_rank", "time_step_rank"]),
        step_floor: reader.exact("state_space.step_floor", &["time_step_floor"]),
        step_min: reader.exact("state_space.step_min", &["time_step_min"]),
        step_max: reader.exact("state_space.step_max", &["time_step_max"]),
    })
}

/// In `no_rope_layers` a layer without rotation has a zero.
fn zeros(value: &Value) -> Option<Vec<u64>> {
    let flags = (0..).zip(value.as_array()?);
    let zeros: Vec<u64> = flags.filter(|(_, flag)| flag.as_u64() == Some(0)).map(|(layer, _)| layer).collect();
    (!zeros.is_empty()).then_some(zeros)
}
