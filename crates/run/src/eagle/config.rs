//! The configuration of an EAGLE-3 head.

use longshore_model::{Facts, ModelConfig};
use serde_json::{Map, Value};

use crate::error::LoadError;

/// The layers that a head reads.
const IDS: &str = "eagle_aux_hidden_state_layer_ids";

/// What a head's `config.json` says.
#[derive(Debug)]
pub(super) struct Stated {
    pub(super) facts: Facts,
    /// Layers of the target whose inputs the head reads, in ascending order. The number of layers stands for what the last one gives.
    pub(super) taps: [usize; 3],
    /// Whether the residual stream goes on from the normalised states.
    pub(super) is_residual: bool,
}

impl Stated {
    /// Reads the document of a head for a target of `layers` layers.
    ///
    /// `speculators` nests the sizes of the layer. It states layers like vLLM, by the layer that reads the state; `eagle_config` states
    /// them like `SGLang`, by the layer that gives it.
    pub(super) fn read(document: &[u8], layers: usize) -> Result<Self, LoadError> {
        let unsupported = |what: String| LoadError::Unsupported { what };
        let config: Map<String, Value> = serde_json::from_slice(document)
            .map_err(|error| unsupported(format!("a draft head whose config.json cannot be read ({error})")))?;
        let mut whole = config.clone();
        if let Some(Value::Object(nested)) = config.get("transformer_layer_config") {
            whole.extend(nested.clone());
        }
        let bytes = Value::Object(whole).to_string();
        let facts = ModelConfig::parse(bytes.as_bytes())
            .map_err(|error| unsupported(format!("a draft head whose config.json cannot be read ({error})")))?
            .facts();
        let ids = |of: &Map<String, Value>, more: u64| {
            let ids = of.get(IDS)?.as_array()?;
            ids.iter().map(|id| id.as_u64()?.checked_add(more)).collect::<Option<Vec<u64>>>()
        };
        let nested = || config.get("eagle_config").and_then(Value::as_object).and_then(|nested| ids(nested, 1));
        let usual = || [2, layers / 2, layers.saturating_sub(3)].map(|at| at as u64).to_vec();
        let stated = ids(&config, 0).or_else(nested).unwrap_or_else(usual);
        let mut taps: Vec<usize> = stated.iter().map(|at| usize::try_from(*at).unwrap_or(usize::MAX)).collect();
        taps.sort_unstable();
        taps.dedup();
        let taps: Option<[usize; 3]> = taps.try_into().ok();
        let Some(taps) = taps.filter(|taps| taps[2] <= layers) else {
            let what =
                format!("a draft head that reads the layers {stated:?} of {layers} (expected three that differ)");
            return Err(unsupported(what));
        };
        let is_residual = config.get("norm_before_residual").and_then(Value::as_bool) == Some(true);
        Ok(Self { facts, taps, is_residual })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn layers_are_those_that_are_stated_or_the_usual_ones() {
        let taps = |config: &Value, layers| Stated::read(config.to_string().as_bytes(), layers).map(|read| read.taps);
        assert_eq!(taps(&json!({}), 32).expect("there are enough"), [2, 16, 29]);
        let vllm = json!({"eagle_aux_hidden_state_layer_ids": [29, 2, 16]});
        assert_eq!(taps(&vllm, 32).expect("there are enough"), [2, 16, 29]);
        let sglang = json!({"eagle_config": {"eagle_aux_hidden_state_layer_ids": [1, 15, 28]}});
        assert_eq!(taps(&sglang, 32).expect("there are enough"), [2, 16, 29]);
        assert_eq!(
            taps(&json!({"eagle_aux_hidden_state_layer_ids": [0, 1, 2]}), 2).expect("there are enough"),
            [0, 1, 2]
        );
        for (config, layers) in [
            (json!({}), 6),
            (json!({"eagle_aux_hidden_state_layer_ids": [0, 1, 3]}), 2),
            (json!({"eagle_aux_hidden_state_layer_ids": [0, 1]}), 2),
        ] {
            let found = taps(&config, layers).expect_err("it is refused").to_string();
            assert!(found.contains("three that differ"), "{found}");
        }
    }

    #[test]
    fn nested_sizes_count() {
        let config = json!({"transformer_layer_config": {"hidden_size": 64, "num_attention_heads": 4}, "norm_before_residual": true});
        let read = Stated::read(config.to_string().as_bytes(), 32).expect("it is a configuration");
        assert_eq!((read.facts.hidden_size, read.facts.heads, read.is_residual), (Some(64), Some(4), true));
    }
}
