//! The decoder layer inside a head.

use super::shapes::Shapes;

/// Names that a decoder layer under `prefix` lacks: those of its norms, of its attention, plain or latent, and of its
/// feed-forward block, one or experts.
pub(super) fn missing(shapes: &Shapes<'_>, prefix: &str) -> Vec<String> {
    let has = |name: &str| shapes.has(&format!("{prefix}{name}"));
    let mut wanted = vec!["input_layernorm", "post_attention_layernorm", "self_attn.o_proj"];
    if has("self_attn.kv_a_proj_with_mqa") || has("self_attn.kv_b_proj") {
        wanted.extend(["self_attn.kv_a_proj_with_mqa", "self_attn.kv_a_layernorm", "self_attn.kv_b_proj"]);
        if has("self_attn.q_proj") {
            wanted.push("self_attn.q_proj");
        } else {
            wanted.extend(["self_attn.q_a_proj", "self_attn.q_a_layernorm", "self_attn.q_b_proj"]);
        }
    } else if !has("self_attn.qkv_proj") {
        wanted.extend(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]);
    }
    let has_experts = shapes.names().any(|name| name.starts_with(&format!("{prefix}mlp.experts.")));
    let block = if has_experts { "mlp.experts." } else { "mlp." };
    if has_experts {
        wanted.push("mlp.gate");
    }
    let mut names: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
    let inner: &[&str] = if has(&format!("{block}gate_up_proj")) { &[] } else { &["gate_proj", "up_proj"] };
    names.extend(inner.iter().chain(&["down_proj"]).map(|name| format!("{block}{name}")));
    shapes.missing(names.into_iter().map(|name| format!("{prefix}{name}")))
}
