//! Lengths that rows of weights may have, from every size in a `config.json`.

use serde_json::{Map, Value};

use super::keys::{HEAD_DIM, HIDDEN, INTERMEDIATE, SHARED_EXPERTS};

/// Lengths that rows of a language model's weights may have, as far as `config.json` states sizes.
///
/// Families name their sizes differently, and have more than one of each. The lists hold all that may be meant, so that
/// a length that is in none of them is one that the document does not state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Widths {
    /// Sizes of the residual stream and of what is read in its place, such as an embedding of its own size.
    pub hidden: Vec<u64>,
    /// Elements between the projections of feed-forward blocks: dense ones, experts and shared experts.
    pub feed_forward: Vec<u64>,
    /// Every number of query or value heads times every size of a head. Empty if no size of a head is stated.
    pub attention: Vec<u64>,
    /// The number of query heads times the size of a value head (`v_head_dim`, else `head_dim`), if both are stated.
    pub attention_output: Option<u64>,
    /// The number of value heads times their size in linear attention, if both are stated.
    pub linear_output: Option<u64>,
}

/// The most distinct sizes of one sort that count. Published documents have fewer than ten.
const MAX_SIZES: usize = 64;
/// Depth to which members of the language model's description are searched, as in `linear_attn_config`.
const DEPTH: usize = 3;

impl Widths {
    pub(super) fn of(levels: &[&Map<String, Value>]) -> Self {
        let mut numbers = Vec::new();
        for (at, level) in levels.iter().enumerate() {
            // What an outer level nests is the language model's description or that of another model.
            let depth = if at + 1 == levels.len() { DEPTH } else { 0 };
            collect(level, depth, &mut numbers);
        }
        let sizes = |is: fn(&str) -> bool| {
            let mut found: Vec<u64> = numbers.iter().filter(|(key, _)| is(key)).map(|(_, size)| *size).collect();
            found.sort_unstable();
            found.dedup();
            found.truncate(MAX_SIZES);
            found
        };
        let stated = |key: &str| levels.iter().find_map(|level| level.get(key)?.as_u64());
        let times = |heads: Option<u64>, size: Option<u64>| heads?.checked_mul(size?);
        let heads = sizes(is_heads);
        let head_sizes = sizes(is_head_size);
        let attention = products(&heads, &head_sizes);
        let mut feed_forward = sizes(is_intermediate);
        let shared = sizes(|key| SHARED_EXPERTS.contains(&key) || key.ends_with("num_shared_experts"));
        feed_forward.extend(products(&feed_forward, &shared));
        Self {
            hidden: sizes(is_hidden),
            feed_forward,
            attention,
            attention_output: times(stated("num_attention_heads"), stated("v_head_dim").or_else(|| stated("head_dim"))),
            linear_output: times(stated("linear_num_value_heads"), stated("linear_value_head_dim")),
        }
    }
}

/// Collects the whole numbers of `object`, those in lists too, under the names of their members.
fn collect<'o>(object: &'o Map<String, Value>, depth: usize, into: &mut Vec<(&'o str, u64)>) {
    for (key, value) in object {
        match value {
            Value::Number(number) => into.extend(number.as_u64().map(|number| (key.as_str(), number))),
            Value::Array(list) => into.extend(list.iter().filter_map(Value::as_u64).map(|each| (key.as_str(), each))),
            Value::Object(inner) if depth > 0 && !is_of_another_model(key) => collect(inner, depth - 1, into),
            _ => {}
        }
    }
}

fn is_of_another_model(key: &str) -> bool {
    ["vision", "audio", "sound", "quantization", "speech"].iter().any(|word| key.contains(word))
}

fn is_hidden(key: &str) -> bool {
    HIDDEN.contains(&key) || ["hidden_size", "hidden_dim", "embed", "latent"].iter().any(|word| key.contains(word))
}

fn is_intermediate(key: &str) -> bool {
    INTERMEDIATE.contains(&key) || ["intermediate", "ffn"].iter().any(|word| key.contains(word))
}

/// Whether a member is a number of heads, but not of those that keys and values of attention share.
fn is_heads(key: &str) -> bool {
    let is_shared = ["key_value", "kv_heads", "head_kv"].iter().any(|word| key.contains(word));
    !is_shared && (key.contains("heads") || key.ends_with("n_head") || key.ends_with("num_head"))
}

fn is_head_size(key: &str) -> bool {
    HEAD_DIM.contains(&key) || ["head_dim", "head_size"].iter().any(|word| key.contains(word))
}

fn products(some: &[u64], others: &[u64]) -> Vec<u64> {
    some.iter().flat_map(|one| others.iter().filter_map(move |other| one.checked_mul(*other))).collect()
}

#[cfg(test)]
mod tests {
    use crate::ModelConfig;

    #[test]
    fn sizes_of_every_name() {
        let config = ModelConfig::parse(
            br#"{"vision_config": {"hidden_size": 7, "num_heads": 7, "head_dim": 7}, "text_config": {
                "hidden_size": 128, "intermediate_size": [512, 256], "moe_intermediate_size": 64, "n_shared_experts": 3,
                "num_attention_heads": 4, "num_key_value_heads": 7, "head_dim": 32, "global_head_dim": 64,
                "linear_attn_config": {"num_heads": 5, "head_dim": 16}, "linear_num_value_heads": 6,
                "linear_value_head_dim": 8}}"#,
        )
        .expect("it is an object");
        let widths = &config.widths;
        assert_eq!(widths.hidden, [128]);
        assert_eq!(widths.feed_forward, [64, 256, 512, 192, 768, 1536]);
        for width in [4 * 32, 4 * 64, 5 * 16, 6 * 8] {
            assert!(widths.attention.contains(&width), "{width}");
        }
        assert!(!widths.attention.contains(&(7 * 32)) && !widths.attention.contains(&49));
        assert_eq!((widths.attention_output, widths.linear_output), (Some(128), Some(48)));
        let mla = br#"{"num_attention_heads": 4, "v_head_dim": 16, "head_dim": 32}"#;
        assert_eq!(ModelConfig::parse(mla).expect("it is an object").widths.attention_output, Some(64));
        let old = ModelConfig::parse(br#"{"n_embd": 96, "n_head": 4}"#).expect("it is an object").widths;
        assert_eq!((old.attention, old.attention_output), (vec![], None));
    }

    #[test]
    fn sizes_without_end() {
        let heads: Vec<String> = (1..5000).map(|heads| heads.to_string()).collect();
        let text = format!(r#"{{"heads": [{}], "head_dim": [{0}, {}]}}"#, heads.join(","), u64::MAX);
        let widths = ModelConfig::parse(text.as_bytes()).expect("it is an object").widths;
        assert_eq!(widths.attention.len(), 64 * 64);
    }
}
