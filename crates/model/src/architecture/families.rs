//! Facts that families leave unsaid in their configurations, as their code in transformers has them.

use super::row::FactsReader;
use crate::{
    config::reader::ConfigReader,
    facts::{Facts, Router, read::layers},
};

/// Families with peculiarities: their names, as class or `model_type`, and the reader that adds what they leave unsaid.
pub(super) const FAMILIES: [(&[&str], FactsReader); 20] = [
    (&["gemma"], gemma),
    (&["gemma2"], gemma2),
    (&["gemma3", "gemma3_text"], gemma3),
    (&["gemma3n", "gemma3n_text", "gemma4", "gemma4_text", "gemma4_unified"], gemma4),
    (&["qwen2", "qwen2_moe", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"], qwen2),
    (&["qwen3", "qwen3_moe", "qwen3_vl", "qwen3_vl_text", "qwen3_vl_moe", "qwen3_vl_moe_text"], qwen3),
    (&["qwen3_next", "qwen3_next_moe", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"], qwen3_next),
    (&["mixtral", "granitemoe", "granitemoeshared", "granitemoehybrid"], mixtral),
    (&["gpt_oss"], gpt_oss),
    (&["deepseek_v2"], deepseek_v2),
    (&["deepseek_v3", "deepseek_v32", "kimi_k2"], deepseek_v3),
    (&["glm4_moe", "dots1", "minimax_m2"], sigmoid),
    (&["llama4", "llama4_text"], llama4),
    (&["nemotron_h"], nemotron_h),
    (&["mamba", "mamba2", "falcon_mamba", "lfm2", "lfm2_moe"], rms),
    (&["cohere", "cohere2"], cohere),
    (&["olmo2", "olmo3"], olmo2),
    (&["gpt2"], gpt2),
    (&["falcon"], falcon),
    (&["internlm2"], internlm2),
];

/// Head size of the first three generations of Gemma, where the configuration states none.
const GEMMA_HEAD: u64 = 256;

fn gemma(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    set(reader, "head_dim", &mut facts.head_dim, GEMMA_HEAD);
    set(reader, "norm.adds_one", &mut facts.norm.adds_one, true);
    scaled(reader, facts);
}

fn gemma2(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    gemma(reader, facts);
    layers::every(reader, facts, 2, "every second layer, a default of the family");
}

fn gemma3(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    gemma(reader, facts);
    set(reader, "attention.qk_norm", &mut facts.attention.qk_norm, true);
    layers::every(reader, facts, 6, "every sixth layer, a default of the family");
}

fn gemma4(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    scaled(reader, facts);
    set(reader, "attention.qk_norm", &mut facts.attention.qk_norm, true);
    // Layers of global attention have heads of another size.
    let global_dim = reader.number("per_layer.head_dim", &["global_head_dim"]);
    let global_heads = reader.number("per_layer.kv_heads", &["num_global_key_value_heads"]);
    let of_layers = |global: Option<u64>, local: Option<u64>| {
        let (Some(global), Some(local)) = (global, local) else { return Vec::new() };
        let is_global = |kind: &String| kind == "full_attention";
        facts.layer_types.iter().map(|kind| if is_global(kind) { global } else { local }).collect()
    };
    facts.per_layer.head_dim = of_layers(global_dim, facts.head_dim);
    facts.per_layer.kv_heads = of_layers(global_heads, facts.kv_heads);
}

/// The embedding is scaled and shared with the head in every Gemma.
fn scaled(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    set(reader, "scales_embeddings", &mut facts.scales_embeddings, true);
    set(reader, "tied_embeddings", &mut facts.tied_embeddings, true);
}

fn qwen2(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    set(reader, "attention.bias", &mut facts.attention.bias, true);
    set(reader, "attention.output_bias", &mut facts.attention.output_bias, false);
    route(reader, facts, "softmax", None);
}

fn qwen3(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    set(reader, "attention.qk_norm", &mut facts.attention.qk_norm, true);
    route(reader, facts, "softmax", None);
}

fn qwen3_next(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    qwen3(reader, facts);
    set(reader, "attention.output_gate", &mut facts.attention.output_gate, true);
    set(reader, "norm.adds_one", &mut facts.norm.adds_one, true);
}

fn mixtral(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    route(reader, facts, "softmax", Some(true));
}

fn gpt_oss(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    mixtral(reader, facts);
    set(reader, "attention.bias", &mut facts.attention.bias, true);
    set(reader, "attention.sinks", &mut facts.attention.sinks, true);
    layers::every(reader, facts, 2, "every second layer, a default of the family");
}

fn deepseek_v2(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    interleaved(reader, facts);
    route(reader, facts, "softmax", None);
}

fn deepseek_v3(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    interleaved(reader, facts);
    route(reader, facts, "sigmoid", None);
}

fn sigmoid(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    route(reader, facts, "sigmoid", None);
}

fn llama4(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    interleaved(reader, facts);
    route(reader, facts, "sigmoid", Some(false));
}

fn nemotron_h(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    rms(reader, facts);
    route(reader, facts, "sigmoid", None);
}

/// The name of the member suggests another norm.
fn rms(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    facts.norm.kind = None;
    set(reader, "norm.kind", &mut facts.norm.kind, "rms".to_owned());
}

fn cohere(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    interleaved(reader, facts);
    set(reader, "tied_embeddings", &mut facts.tied_embeddings, true);
}

fn olmo2(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    set(reader, "attention.qk_norm", &mut facts.attention.qk_norm, true);
}

fn gpt2(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    four_times(reader, facts);
    set(reader, "activation", &mut facts.activation, "gelu_new".to_owned());
    set(reader, "attention.bias", &mut facts.attention.bias, true);
    set(reader, "mlp_bias", &mut facts.mlp_bias, true);
    if reader.flag("multipliers.attention", &["scale_attn_weights"]) == Some(false) {
        set(reader, "multipliers.attention", &mut facts.multipliers.attention, 1.into());
    }
}

/// The first generation states as many heads of keys as of queries, and has one, unless the configuration says otherwise.
fn falcon(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    let is_new = reader.flag("kv_heads", &["new_decoder_architecture"]) == Some(true);
    let shares = reader.flag("kv_heads", &["multi_query"]) != Some(false);
    if !is_new {
        facts.kv_heads = if shares { Some(1) } else { facts.heads };
        reader.derived("kv_heads", "multi_query, and the generation of the family");
    }
    four_times(reader, facts);
    facts.activation = facts.activation.take().or_else(|| reader.text("activation", &["activation"]));
    set(reader, "activation", &mut facts.activation, "gelu".to_owned());
    facts.attention.bias = facts.attention.bias.or_else(|| reader.flag("attention.bias", &["bias"]));
    facts.mlp_bias = facts.mlp_bias.or_else(|| reader.flag("mlp_bias", &["bias"]));
}

fn internlm2(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    facts.attention.bias = facts.attention.bias.or_else(|| reader.flag("attention.bias", &["bias"]));
}

/// Feed-forward blocks are four times as wide as the residual stream.
fn four_times(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    if let Some(hidden) = facts.hidden_size {
        set(reader, "intermediate_size", &mut facts.intermediate_size, hidden.saturating_mul(4));
    }
}

fn interleaved(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    if let Some(rope) = &mut facts.rope {
        set(reader, "rope.interleaved", &mut rope.interleaved, true);
    }
}

fn route(reader: &mut ConfigReader<'_>, facts: &mut Facts, scoring: &str, normalises: Option<bool>) {
    if facts.experts.is_none_or(|experts| experts == 0) {
        return;
    }
    let router = facts.router.get_or_insert_with(Router::default);
    set(reader, "router.scoring", &mut router.scoring, scoring.to_owned());
    if let Some(normalises) = normalises {
        set(reader, "router.normalises", &mut router.normalises, normalises);
    }
}

/// Sets a fact that the configuration does not state.
fn set<T>(reader: &mut ConfigReader<'_>, fact: &'static str, slot: &mut Option<T>, default: T) {
    if slot.is_none() {
        *slot = Some(default);
        reader.derived(fact, "a default of the family");
    }
}
