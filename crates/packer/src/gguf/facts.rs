//! Facts about a model from the metadata of its GGUF file.

use longshore_gguf::{Metadata, Value};
use longshore_model::{ChatTemplate, GgufConfig};
use serde_json::Number;

/// Longest array that is read as facts. An array of facts has an element for each layer.
const MAX_ELEMENTS: usize = 4096;
/// Key by which [`GgufConfig::read`] asks the number of tokens.
const TOKENS_LENGTH: &str = "tokenizer.ggml.tokens.length";

/// The kind of model that a file says it holds, as `general.type` states it: `model`, `adapter` or `mmproj`, for example.
pub(crate) fn model_type(metadata: &Metadata) -> Option<&str> {
    metadata.get("general.type")?.as_str()
}

/// The configuration that the metadata states, of a file for whose tensors `has_tensor` tells whether they are there.
pub(crate) fn config(metadata: &Metadata, has_tensor: &dyn Fn(&str) -> bool) -> GgufConfig {
    let key = |key: &str| match key {
        TOKENS_LENGTH => Some((metadata.get("tokenizer.ggml.tokens")?.as_array()?.len() as u64).into()),
        key => json(metadata.get(key)?),
    };
    GgufConfig::read(&key, has_tensor)
}

/// A value in JSON. `None` for what is no number, text, flag or short list of these.
pub(crate) fn json(value: Value<'_>) -> Option<serde_json::Value> {
    if let Some(array) = value.as_array() {
        return array
            .iter()
            .take(MAX_ELEMENTS + 1)
            .map(json)
            .collect::<Option<Vec<_>>>()
            .filter(|list| list.len() <= MAX_ELEMENTS)
            .map(Into::into);
    }
    if let Some(number) = value.as_u64() {
        return Some(number.into());
    }
    if let Some(number) = value.as_i64() {
        return Some(number.into());
    }
    if let Some(flag) = value.as_bool() {
        return Some(flag.into());
    }
    match value.as_str() {
        Some(text) => Some(text.into()),
        None => shortest(value).map(serde_json::Value::Number),
    }
}

/// The chat template of the model.
pub(crate) fn template(metadata: &Metadata) -> ChatTemplate {
    let text = metadata.get("tokenizer.chat_template").and_then(Value::as_str);
    ChatTemplate::read(None, text.map(|text| text.as_bytes().to_vec()))
}

/// A float as the shortest decimal number that stands for it, without a fraction where it is whole.
fn shortest(value: Value<'_>) -> Option<Number> {
    let text = match value {
        Value::F32(number) if number.is_finite() => number.to_string(),
        Value::F64(number) if number.is_finite() => number.to_string(),
        _ => return None,
    };
    match text.parse::<u64>() {
        Ok(whole) => Some(whole.into()),
        Err(_) => Number::from_f64(text.parse().ok()?),
    }
}

#[cfg(test)]
mod tests {
    use longshore_model::ModelConfig;

    use super::*;

    fn metadata(fill: impl FnOnce(&mut Metadata) -> Result<(), longshore_gguf::MetadataError>) -> Metadata {
        let mut metadata = Metadata::new();
        fill(&mut metadata).expect("keys are given once");
        metadata
    }

    #[test]
    fn keys_become_facts() {
        let metadata = metadata(|m| {
            m.push("general.architecture", "qwen3moe")?;
            m.push("qwen3moe.block_count", 4_u32)?;
            m.push("qwen3moe.embedding_length", 64_u64)?;
            m.push_array("qwen3moe.attention.head_count", [8_u32, 8, 8, 8])?;
            m.push_array("qwen3moe.attention.head_count_kv", [2_u32, 0, 2, 0])?;
            m.push("qwen3moe.expert_count", 16_u32)?;
            m.push("qwen3moe.expert_shared_count", 0_u32)?;
            m.push("qwen3moe.context_length", "long")?;
            m.push("qwen3moe.rope.freq_base", 1_000_000.0_f32)?;
            m.push("qwen3moe.rope.scaling.type", "yarn")?;
            m.push("qwen3moe.rope.scaling.factor", 0.1_f32)?;
            m.push_array("tokenizer.ggml.tokens", ["a", "b", "c"])
        });
        let found = config(&metadata, &|_| false);
        let facts = found.model().facts();
        assert_eq!(facts.architecture.as_deref(), Some("qwen3moe"));
        assert_eq!((facts.layers, facts.hidden_size, facts.heads, facts.kv_heads), (Some(4), Some(64), Some(8), None));
        assert_eq!(facts.per_layer.kv_heads, [2, 0, 2, 0]);
        assert_eq!(found.model().source("heads").as_deref(), Some("qwen3moe.attention.head_count"));
        assert_eq!(found.model().source("rope.factor").as_deref(), Some("qwen3moe.rope.scaling.factor"));
        assert_eq!((facts.experts, facts.shared_experts, facts.context_length), (Some(16), None, None));
        assert_eq!(facts.vocabulary, Some(3));
        let rope = facts.rope.expect("it is described");
        assert_eq!(rope.theta, Some(1_000_000.into()));
        assert_eq!((rope.kind.as_deref(), rope.factor), (Some("yarn"), Number::from_f64(0.1)));
    }

    #[test]
    fn what_is_no_architecture_gives_no_facts() {
        let config = |metadata: &Metadata| config(metadata, &|_| false).model().clone();
        assert_eq!(config(&Metadata::new()), ModelConfig::default());
        let long = metadata(|m| m.push("general.architecture", &*"a".repeat(65)));
        assert_eq!(config(&long), ModelConfig::default());
        let none = metadata(|m| {
            m.push("general.architecture", "a")?;
            m.push("a.rope.scaling.type", "none")?;
            m.push("a.rope.freq_base", f32::NAN)
        });
        assert_eq!(config(&none).rope, None);
    }
}
