//! Rotary position embedding: its keys, as members.

use serde_json::{Map, Number, Value};

use super::reading::Reading;

/// Keys of the stretched context, by the member of `rope_scaling`.
const YARN: [(&str, &str); 4] = [
    ("beta_fast", "rope.scaling.yarn_beta_fast"),
    ("beta_slow", "rope.scaling.yarn_beta_slow"),
    ("attention_factor", "rope.scaling.yarn_attn_factor"),
    ("attention_factor", "rope.scaling.attn_factor"),
];

/// Adds `rope_theta` and, where the context is stretched, `rope_scaling`.
pub(super) fn read(reading: &mut Reading<'_>) {
    reading.float("rope_theta", "rope.freq_base");
    let has_rope = |model_type: &str| !matches!(model_type, "nemotron_h" | "mamba" | "mamba2" | "bert");
    if reading.family.is_some_and(|family| has_rope(family.model_type)) {
        reading.default("rope_theta", 10_000);
    }
    let kind = reading.text("rope.scaling.type").filter(|kind| kind != "none");
    let factor = reading.number_of("rope.scaling.factor").or_else(|| reading.number_of("rope.scale_linear"));
    let is_stretched = factor.as_ref().and_then(Number::as_f64).is_some_and(|factor| !matches!(factor, 0.0 | 1.0));
    if kind.is_none() && !is_stretched {
        return;
    }
    let mut scaling = Map::new();
    // Without a kind llama.cpp divides positions by the factor.
    let kind = kind.unwrap_or_else(|| "linear".to_owned());
    scaling.insert("rope_type".to_owned(), kind.clone().into());
    if let Some(factor) = factor {
        let has_new_key = reading.get("rope.scaling.factor").is_some();
        reading.origin("rope_scaling.factor", if has_new_key { "rope.scaling.factor" } else { "rope.scale_linear" });
        scaling.insert("factor".to_owned(), Value::Number(factor));
    }
    if let Some(length) = reading.whole("rope.scaling.original_context_length") {
        reading.origin("rope_scaling.original_max_position_embeddings", "rope.scaling.original_context_length");
        scaling.insert("original_max_position_embeddings".to_owned(), length.into());
    }
    for (member, key) in YARN {
        if let Some(number) = reading.number_of(key) {
            reading.origin(&format!("rope_scaling.{member}"), key);
            scaling.entry(member).or_insert(Value::Number(number));
        }
    }
    // The key holds a tenth of the weight.
    if let Some(weight) = reading.number_of("rope.scaling.yarn_log_multiplier").and_then(|number| number.as_f64())
        && let Some(weight) = Number::from_f64((weight * 10.0 * 1e6).round() / 1e6)
    {
        scaling.insert("mscale_all_dim".to_owned(), Value::Number(weight.clone()));
        scaling.insert("mscale".to_owned(), Value::Number(weight));
    }
    reading.set("rope_scaling", Value::Object(scaling), "rope.scaling.type");
}
