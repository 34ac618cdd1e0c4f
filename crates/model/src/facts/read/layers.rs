//! Kinds of layers, and sizes that differ from layer to layer.

use serde_json::Value;

use crate::{
    config::{keys, reader::ConfigReader},
    facts::Facts,
};

/// Largest number of layers that are listed one by one. Published models have far fewer.
pub(crate) const MAX_LAYERS: u64 = 4096;

const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

pub(super) fn read(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    facts.layers = reader.number("layers", keys::LAYERS);
    facts.layer_types = reader
        .find("layer_types", &["layer_types", "layers_block_type"], named)
        .or_else(|| reader.find("layer_types", &["hybrid_override_pattern"], lettered))
        .unwrap_or_default();
    if facts.layers.is_none() {
        facts.layers = reader.find("layers", keys::LAYER_LISTS, counted);
    }
    facts.dense_layers = dense(reader);
    let list = |reader: &mut ConfigReader<'_>, fact, members| reader.numbers(fact, members).unwrap_or_default();
    let per_layer = &mut facts.per_layer;
    per_layer.heads = list(reader, "per_layer.heads", &["num_attention_heads_per_layer", "num_query_heads"]);
    per_layer.kv_heads =
        list(reader, "per_layer.kv_heads", &["num_key_value_heads_per_layer", "num_key_value_heads", "num_kv_heads"]);
    per_layer.intermediate_size = list(reader, "per_layer.intermediate_size", &["intermediate_size"]);
}

/// Lists the layers of a model whose every `pattern`th layer attends to all tokens, and whose others slide.
pub(crate) fn every(reader: &mut ConfigReader<'_>, facts: &mut Facts, pattern: u64, rule: &str) {
    let Some(layers) = facts.layers.filter(|layers| *layers <= MAX_LAYERS) else { return };
    if !facts.layer_types.is_empty() || pattern == 0 || facts.attention.window.is_none() {
        return;
    }
    let kind = |layer: u64| if (layer + 1).is_multiple_of(pattern) { FULL } else { SLIDING };
    facts.layer_types = (0..layers).map(|layer| kind(layer).to_owned()).collect();
    reader.derived("layer_types", rule);
}

/// Lists the layers of a model that states a pattern for them: a number, or a string such as `LLLG`.
pub(super) fn pattern(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    const MEMBERS: &[&str] = &["sliding_window_pattern", "_sliding_window_pattern"];
    if let Some(pattern) = reader.number("layer_types.pattern", MEMBERS) {
        every(reader, facts, pattern, "every so many layers as sliding_window_pattern says");
    }
    let Some(letters) = reader.text("layer_types.pattern", MEMBERS) else { return };
    let Some(layers) = facts.layers.filter(|layers| *layers <= MAX_LAYERS) else { return };
    if facts.layer_types.is_empty() {
        let kind = |letter: char| if letter == 'L' { SLIDING } else { FULL };
        let layers = usize::try_from(layers).unwrap_or_default();
        facts.layer_types = letters.chars().cycle().take(layers).map(|letter| kind(letter).to_owned()).collect();
        reader.derived("layer_types", "the letters of sliding_window_pattern");
    }
}

fn named(value: &Value) -> Option<Vec<String>> {
    let kinds: Option<Vec<String>> = value.as_array()?.iter().map(|kind| Some(kind.as_str()?.to_owned())).collect();
    kinds.filter(|kinds| !kinds.is_empty())
}

/// Nemotron-H's pattern, one letter for each layer.
fn lettered(value: &Value) -> Option<Vec<String>> {
    let kind = |letter| match letter {
        'M' => Some("mamba"),
        '*' => Some("attention"),
        '-' => Some("mlp"),
        'E' => Some("moe"),
        _ => None,
    };
    let kinds: Option<Vec<String>> = value.as_str()?.chars().map(|letter| kind(letter).map(str::to_owned)).collect();
    kinds.filter(|kinds| !kinds.is_empty())
}

fn counted(value: &Value) -> Option<u64> {
    match value {
        Value::Array(entries) => Some(entries.len() as u64),
        Value::String(pattern) => Some(pattern.chars().count() as u64),
        _ => None,
    }
}

/// The `dense` entries of `mlp_layer_types`, the entries of `mlp_only_layers`, and the layers before
/// `first_k_dense_replace`. Returns `None` if no level describes them.
fn dense(reader: &mut ConfigReader<'_>) -> Option<Vec<u64>> {
    let types = reader.find("dense_layers", &["mlp_layer_types"], any).and_then(Value::as_array);
    let listed = reader.find("dense_layers", &["mlp_only_layers"], any).and_then(Value::as_array);
    let first = reader.find("dense_layers", &["first_k_dense_replace"], any).and_then(Value::as_u64);
    if types.is_none() && listed.is_none() && first.is_none() {
        return None;
    }
    let of_types = (0..).zip(types.into_iter().flatten()).filter(|(_, kind)| kind.as_str() == Some("dense"));
    let mut dense: Vec<u64> = of_types.map(|(at, _)| at).chain(0..first.unwrap_or(0).min(MAX_LAYERS)).collect();
    dense.extend(listed.into_iter().flatten().filter_map(Value::as_u64));
    dense.sort_unstable();
    dense.dedup();
    Some(dense)
}

#[expect(clippy::unnecessary_wraps, reason = "a look-up may find nothing")]
fn any(value: &Value) -> Option<&Value> {
    Some(value)
}
