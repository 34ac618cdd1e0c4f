//! Facts about a model from the metadata of its GGUF file.

use longshore_gguf::{Metadata, Value};
use longshore_model::{ChatTemplate, Facts, ModelConfig, Rope};
use serde_json::Number;

/// The longest name of an architecture that is believed, in bytes.
const MAX_NAME: usize = 64;

/// The kind of model that a file says it holds, as `general.type` states it: `model`, `adapter` or `mmproj`, for example.
pub(super) fn model_type(metadata: &Metadata) -> Option<&str> {
    metadata.get("general.type")?.as_str()
}

/// The facts that the metadata states. A key of another type than a number counts as absent.
pub(super) fn config(metadata: &Metadata) -> ModelConfig {
    let architecture = metadata.get("general.architecture").and_then(Value::as_str);
    let Some(architecture) = architecture.filter(|name| (1..=MAX_NAME).contains(&name.len())) else {
        return ModelConfig::default();
    };
    let keys = Keys { metadata, architecture };
    let tokens = || Some(metadata.get("tokenizer.ggml.tokens")?.as_array()?.len() as u64);
    ModelConfig::of_facts(Facts {
        architecture: Some(architecture.to_owned()),
        layers: keys.number("block_count"),
        hidden_size: keys.number("embedding_length"),
        intermediate_size: keys.number("feed_forward_length"),
        expert_intermediate_size: keys.number("expert_feed_forward_length"),
        heads: keys.number("attention.head_count"),
        kv_heads: keys.number("attention.head_count_kv"),
        head_dim: keys.number("attention.key_length"),
        experts: keys.number("expert_count").filter(|count| *count > 0),
        experts_per_token: keys.number("expert_used_count").filter(|count| *count > 0),
        shared_experts: keys.number("expert_shared_count").filter(|count| *count > 0),
        context_length: keys.number("context_length"),
        vocabulary: keys.number("vocab_size").or_else(tokens),
        rope: keys.rope(),
        ..Facts::default()
    })
}

/// The chat template of the model.
pub(super) fn template(metadata: &Metadata) -> ChatTemplate {
    let text = metadata.get("tokenizer.chat_template").and_then(Value::as_str);
    ChatTemplate::read(None, text.map(|text| text.as_bytes().to_vec()))
}

/// The keys that begin with the name of the architecture.
struct Keys<'m> {
    metadata: &'m Metadata,
    architecture: &'m str,
}

impl<'m> Keys<'m> {
    fn get(&self, key: &str) -> Option<Value<'m>> {
        self.metadata.get(&format!("{}.{key}", self.architecture))
    }

    /// An integer, or the element that all layers have in common where each has its own.
    fn number(&self, key: &str) -> Option<u64> {
        let value = self.get(key)?;
        let Some(array) = value.as_array() else { return value.as_u64() };
        let first = array.iter().next()?.as_u64()?;
        array.iter().all(|other| other.as_u64() == Some(first)).then_some(first)
    }

    fn float(&self, key: &str) -> Option<Number> {
        let value = self.get(key)?;
        match value.as_u64() {
            Some(whole) => Some(whole.into()),
            None => shortest(value),
        }
    }

    fn rope(&self) -> Option<Rope> {
        let kind = self.get("rope.scaling.type").and_then(Value::as_str).filter(|kind| *kind != "none");
        let rope = Rope {
            theta: self.float("rope.freq_base"),
            local_theta: self.float("rope.freq_base_swa"),
            kind: kind.filter(|kind| kind.len() <= MAX_NAME).map(str::to_owned),
            factor: self.float("rope.scaling.factor"),
            original_context: self.number("rope.scaling.original_context_length"),
            ..Rope::default()
        };
        (rope != Rope::default()).then_some(rope)
    }
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
        let facts = config(&metadata).facts();
        assert_eq!(facts.architecture.as_deref(), Some("qwen3moe"));
        assert_eq!((facts.layers, facts.hidden_size, facts.heads, facts.kv_heads), (Some(4), Some(64), Some(8), None));
        assert_eq!((facts.experts, facts.shared_experts, facts.context_length), (Some(16), None, None));
        assert_eq!(facts.vocabulary, Some(3));
        let rope = facts.rope.expect("it is described");
        assert_eq!(rope.theta, Some(1_000_000.into()));
        assert_eq!((rope.kind.as_deref(), rope.factor), (Some("yarn"), Number::from_f64(0.1)));
    }

    #[test]
    fn what_is_no_architecture_gives_no_facts() {
        assert_eq!(config(&Metadata::new()), ModelConfig::default());
        let long = metadata(|m| m.push("general.architecture", &*"a".repeat(MAX_NAME + 1)));
        assert_eq!(config(&long), ModelConfig::default());
        let none = metadata(|m| {
            m.push("general.architecture", "a")?;
            m.push("a.rope.scaling.type", "none")?;
            m.push("a.rope.freq_base", f32::NAN)
        });
        assert_eq!(config(&none).rope, None);
    }
}
