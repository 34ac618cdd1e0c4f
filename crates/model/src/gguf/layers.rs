//! Kinds of layers, where layers differ.

use serde_json::Value;

use super::reading::Reading;
use crate::facts::read::layers::MAX_LAYERS;

const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

/// Adds `layer_types`, or the member that the family has in its place.
pub(super) fn read(reading: &mut Reading<'_>) {
    let layers = reading.config.get("num_hidden_layers").and_then(Value::as_u64).filter(|layers| *layers <= MAX_LAYERS);
    let Some(layers) = layers else { return };
    match reading.family.map(|family| family.model_type) {
        Some("nemotron_h") => nemotron(reading),
        Some("granitemoehybrid") => granite(reading),
        Some("qwen3_next") => {
            let every = reading.whole("full_attention_interval").filter(|every| *every > 0).unwrap_or(4);
            every_nth(reading, layers, every, "linear_attention", "full_attention_interval");
        }
        _ => sliding(reading, layers),
    }
}

/// Layers of local attention: as flags for each layer say it, or every so many is global.
fn sliding(reading: &mut Reading<'_>, layers: u64) {
    const KEY: &str = "attention.sliding_window_pattern";
    if let Some(Value::Array(flags)) = reading.get(KEY) {
        let kinds: Option<Vec<&str>> =
            flags.iter().map(|flag| Some(if flag.as_bool()? { SLIDING } else { FULL })).collect();
        if let Some(kinds) = kinds {
            reading.set("layer_types", kinds.into(), KEY);
        }
        return;
    }
    let usual = match reading.family.map(|family| family.model_type) {
        Some("gemma3_text") => 6,
        Some("gemma2" | "gpt_oss") => 2,
        Some("cohere2") => 4,
        _ => return,
    };
    let has_window = reading.config.contains_key("sliding_window")
        || reading.family.is_some_and(|family| family.model_type == "gemma2");
    if !has_window {
        return;
    }
    let every = reading.whole(KEY).filter(|every| *every > 0).unwrap_or(usual);
    every_nth(reading, layers, every, SLIDING, KEY);
    if usual != 2 {
        reading.set("sliding_window_pattern", every.into(), KEY);
    }
}

fn every_nth(reading: &mut Reading<'_>, layers: u64, every: u64, others: &str, key: &str) {
    let kind = |layer: u64| if (layer + 1).is_multiple_of(every) { FULL } else { others };
    let kinds: Vec<&str> = (0..layers).map(kind).collect();
    reading.set("layer_types", kinds.into(), key);
}

/// A layer with key and value heads attends, one with an inner size is a feed-forward block or a set of experts, and one
/// with neither carries a state.
fn nemotron(reading: &mut Reading<'_>) {
    let (Some(kv_heads), Some(inner)) = (reading.list("attention.head_count_kv"), reading.list("feed_forward_length"))
    else {
        return;
    };
    let experts =
        reading.whole("expert_feed_forward_length").filter(|_| reading.whole("expert_count").unwrap_or(0) > 0);
    let kind = |(kv_heads, inner): (&u64, &u64)| match (kv_heads, inner) {
        (0, 0) => "mamba",
        (0, inner) if Some(*inner) == experts => "moe",
        (0, _) => "mlp",
        _ => "attention",
    };
    let kinds: Vec<&str> = kv_heads.iter().zip(&inner).map(kind).collect();
    reading.set("layers_block_type", kinds.into(), "attention.head_count_kv");
    single(reading, &kv_heads, "num_key_value_heads", "attention.head_count_kv");
    let dense: Vec<u64> = inner.into_iter().filter(|inner| Some(*inner) != experts).collect();
    single(reading, &dense, "intermediate_size", "feed_forward_length");
}

fn granite(reading: &mut Reading<'_>) {
    let Some(kv_heads) = reading.list("attention.head_count_kv") else { return };
    let kinds: Vec<&str> = kv_heads.iter().map(|heads| if *heads == 0 { "mamba" } else { "attention" }).collect();
    reading.set("layer_types", kinds.into(), "attention.head_count_kv");
    single(reading, &kv_heads, "num_key_value_heads", "attention.head_count_kv");
}

/// Replaces a list by the number that all layers have which have any.
fn single(reading: &mut Reading<'_>, list: &[u64], member: &str, key: &str) {
    let mut others = list.iter().filter(|number| **number > 0);
    match others.next() {
        Some(first) if others.all(|other| other == first) => reading.set(member, (*first).into(), key),
        Some(_) => {}
        None => {
            reading.config.remove(member);
        }
    }
}
