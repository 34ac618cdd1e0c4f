//! Adapters of llama.cpp: the keys of their files, ggml's names, and the heads within which rows alternate.

use longshore_model::{
    Facts,
    gguf::{Form, Heads, NameMap},
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    error::AdapterError,
    format::Format,
    names::{Name, Part},
    settings::{Scaling, Settings},
};

const TYPE: &str = "general.type";
const ARCHITECTURE: &str = "general.architecture";
const KIND: &str = "adapter.type";
const ALPHA: &str = "adapter.lora.alpha";
const TOKENS: &str = "adapter.alora.invocation_tokens";

/// The keys of a GGUF file that tell what its adapter is.
pub const KEYS: [&str; 5] = [TYPE, ARCHITECTURE, KIND, ALPHA, TOKENS];
/// The name of the document of these keys among the files of a stored adapter.
pub const DOCUMENT: &str = "adapter/adapter.gguf.json";

/// The suffix of the names of weights.
const WEIGHT: &str = ".weight";

/// Values of the keys.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Keys {
    #[serde(rename = "general.type")]
    kind: Option<Value>,
    #[serde(rename = "general.architecture")]
    architecture: Option<Value>,
    #[serde(rename = "adapter.type")]
    adapter: Option<Value>,
    #[serde(rename = "adapter.lora.alpha")]
    alpha: Option<Value>,
    #[serde(rename = "adapter.alora.invocation_tokens")]
    tokens: Option<Value>,
}

impl Keys {
    /// Whether a document has any of them.
    pub(super) fn are_there(&self) -> bool {
        [&self.kind, &self.architecture, &self.adapter, &self.alpha].iter().any(|value| value.is_some())
    }

    pub(super) fn settings(self) -> Result<Settings, AdapterError> {
        is_text(TYPE, self.kind.as_ref(), "adapter")?;
        is_text(KIND, self.adapter.as_ref(), "lora")?;
        if let Some(tokens) = self.tokens.filter(|tokens| tokens.as_array().is_none_or(|tokens| !tokens.is_empty())) {
            return Err(metadata(TOKENS, Some(&tokens), "none: the adapter acts on some tokens only"));
        }
        let expected = "one whose names of tensors are known";
        let named = || Some(self.architecture.as_ref()?.as_str()?.to_owned());
        let ggml = named().and_then(|name| NameMap::of(&name).map(|map| (name, map)));
        let ggml = ggml.ok_or_else(|| metadata(ARCHITECTURE, self.architecture.as_ref(), expected))?;
        let alpha = match &self.alpha {
            None => 0.0,
            Some(found) => found.as_f64().ok_or_else(|| metadata(ALPHA, Some(found), "a finite number"))?,
        };
        let (format, scaling) = (Format::Gguf, Scaling::Alpha(alpha));
        Ok(Settings { format, is_fan_in_fan_out: false, is_dora: false, scaling, ggml: Some(ggml) })
    }
}

fn is_text(key: &'static str, found: Option<&Value>, expected: &'static str) -> Result<(), AdapterError> {
    if found.and_then(Value::as_str) == Some(expected) { Ok(()) } else { Err(metadata(key, found, expected)) }
}

fn metadata(key: &'static str, found: Option<&Value>, expected: &'static str) -> AdapterError {
    AdapterError::Metadata { key, found: found.map_or_else(|| "no value".to_owned(), Value::to_string), expected }
}

/// Takes the name of a tensor of a file apart, with the module or the name that a checkpoint has for it.
pub(super) fn name(map: NameMap, name: &str) -> Result<(Name, Option<Alternating>), AdapterError> {
    let Name { module, part, depth } = Name::parse(Format::Gguf, name);
    let mappings = map.from_gguf(&module);
    let refuse = |form| Err(AdapterError::Form { tensor: name.to_owned(), form });
    let (found, form) = match &*mappings {
        // The base has nothing of this name, and an error will say so.
        [] => (module.clone(), Form::Same),
        [only] => (only.name.clone(), only.form),
        _ => return refuse("in one tensor where a checkpoint has several"),
    };
    let (part, alternating) = match (form, part) {
        (Form::Same, Part::A) if module == EMBEDDING => (Part::EmbeddingA, None),
        (Form::Same, Part::B) if module == EMBEDDING => (Part::EmbeddingB, None),
        (Form::Same, _) => (part, None),
        (Form::Rotary(heads), Part::A | Part::B) => (part, Some(Alternating::new(heads, &module))),
        (Form::PlusOne, _) => return refuse("with 1 added"),
        (Form::Own, _) => return refuse("for themselves"),
        _ => return refuse("in another order or in parts"),
    };
    let module = match part {
        Part::Whole => found,
        _ => found.strip_suffix(WEIGHT).unwrap_or(&found).to_owned(),
    };
    Ok((Name { module, part, depth }, alternating))
}

/// The embedding of tokens, whose factors are the other way round.
const EMBEDDING: &str = "token_embd.weight";

/// Heads within which rows alternate between two halves, as rotary embeddings of llama.cpp take them.
#[derive(Debug, Clone)]
pub(super) struct Alternating {
    heads: Heads,
    layer: Option<usize>,
    /// Number of the heads, once the base is known.
    count: Option<u64>,
}

impl Alternating {
    fn new(heads: Heads, tensor: &str) -> Self {
        let layer = tensor.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok());
        Self { heads, layer, count: None }
    }

    /// Takes the number of heads from the facts of the base.
    pub(super) fn count(&mut self, facts: &Facts) {
        let of_layer = |numbers: &[u64]| self.layer.and_then(|layer| numbers.get(layer).copied());
        let queries = || of_layer(&facts.per_layer.heads).or(facts.heads);
        let keys = || of_layer(&facts.per_layer.kv_heads).or(facts.kv_heads).or_else(queries);
        self.count = match self.heads {
            Heads::Query => queries(),
            Heads::Key => keys(),
        };
    }

    /// The number of rows of a head, of `rows` of the factor called `tensor`.
    pub(super) fn rows(&self, tensor: String, rows: u64) -> Result<u64, AdapterError> {
        let pairs = self.count.and_then(|count| count.checked_mul(2)).filter(|pairs| *pairs > 0);
        match pairs.filter(|pairs| rows.is_multiple_of(*pairs)) {
            Some(pairs) => Ok(rows / pairs * 2),
            None => Err(AdapterError::Heads { tensor, rows, heads: self.count }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_a_checkpoint() {
        let map = NameMap::of("llama").expect("it has a map");
        let parse = |text: &str| name(map, text).map(|(name, alternating)| (name, alternating.is_some()));
        let is = |module: &str, part, is_alternating| {
            Ok((Name { module: module.to_owned(), part, depth: 0 }, is_alternating))
        };
        let query = "model.layers.3.self_attn.q_proj";
        assert_eq!(parse("blk.3.attn_q.weight.lora_a"), is(query, Part::A, true));
        assert_eq!(parse("blk.3.attn_q.weight.lora_b"), is(query, Part::B, true));
        let value = "model.layers.3.self_attn.v_proj";
        assert_eq!(parse("blk.3.attn_v.weight.lora_b"), is(value, Part::B, false));
        let embedding = "model.embed_tokens";
        assert_eq!(parse("token_embd.weight.lora_a"), is(embedding, Part::EmbeddingA, false));
        assert_eq!(parse("output.weight.lora_b"), is("lm_head", Part::B, false));
        assert_eq!(parse("output_norm.weight"), is("model.norm.weight", Part::Whole, false));
        assert_eq!(parse("unheard.weight.lora_a"), is("unheard", Part::A, false));
        for (text, expected) in [
            ("blk.0.ffn_gate_up_exps.weight.lora_a", "where a checkpoint has several"),
            ("blk.0.attn_q.weight", "in another order"),
            ("rope_freqs.weight", "for themselves"),
        ] {
            let found = parse(text).expect_err("it is in another form").to_string();
            assert!(found.contains(text) && found.contains(expected), "{found}");
        }
    }

    #[test]
    fn heads_are_counted_by_layers() {
        let mut facts = Facts { heads: Some(8), kv_heads: Some(2), ..Facts::default() };
        facts.per_layer.kv_heads = vec![2, 4];
        let rows = |heads, tensor: &str, rows| {
            let mut alternating = Alternating::new(heads, tensor);
            alternating.count(&facts);
            alternating.rows(String::new(), rows).ok()
        };
        assert_eq!(rows(Heads::Query, "blk.1.attn_q.weight", 64), Some(8));
        assert_eq!(rows(Heads::Key, "blk.1.attn_k.weight", 64), Some(16));
        assert_eq!(rows(Heads::Key, "blk.7.attn_k.weight", 64), Some(32));
        assert_eq!(rows(Heads::Query, "blk.1.attn_q.weight", 24), None);
        assert!(Alternating::new(Heads::Query, "").rows(String::new(), 8).is_err());
    }
}
