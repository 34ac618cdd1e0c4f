//! What `config.json` says of a decoder and no fact holds.

use serde_json::{Map, Value};

/// Switches that few families have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stated {
    /// Whether distance lowers the products of queries and keys, in place of a rotation.
    pub(crate) alibi: bool,
    /// Whether products of queries and keys are also divided by the number of the layer.
    pub(crate) scales_by_layer: bool,
    /// Whether attention and feed-forward block read the same rows.
    pub(crate) parallel: Option<bool>,
    /// Whether each of two such blocks has a norm of its own.
    pub(crate) has_two_norms: bool,
}

impl Stated {
    /// Reads the switches of a configuration. What is no JSON object states none.
    pub(crate) fn of(config: &[u8]) -> Self {
        let config: Map<String, Value> = serde_json::from_slice(config).unwrap_or_default();
        let flag = |name: &str| config.get(name).and_then(Value::as_bool);
        let norms = config.get("num_ln_in_parallel_attn").and_then(Value::as_u64);
        Self {
            alibi: flag("alibi") == Some(true),
            scales_by_layer: flag("scale_attn_by_inverse_layer_idx") == Some(true),
            parallel: flag("parallel_attn"),
            has_two_norms: norms.map_or(flag("new_decoder_architecture") == Some(true), |norms| norms == 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn norms_are_counted_or_follow_from_the_generation() {
        let read = |config: &Value| Stated::of(config.to_string().as_bytes());
        assert_eq!((read(&json!({"alibi": 1})), read(&json!([true]))), (Stated::default(), Stated::default()));
        for (config, expected) in [
            (json!({"new_decoder_architecture": true}), true),
            (json!({"new_decoder_architecture": true, "num_ln_in_parallel_attn": null}), true),
            (json!({"new_decoder_architecture": true, "num_ln_in_parallel_attn": 1}), false),
            (json!({"new_decoder_architecture": false}), false),
        ] {
            assert_eq!(read(&config).has_two_norms, expected, "{config}");
        }
    }
}
