//! Pooling of a model of sentences, and the longest text that it was trained on, by the files of sentence-transformers.

use longshore_manifest::weights::Source;
use serde_json::{Map, Value};

use super::documents::{DocumentError, object};
use crate::embed::Pooling;

/// File that says how to pool.
const POOLING: &str = "1_Pooling/config.json";

/// Reason why it is not known how a model pools.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolingError {
    /// The file cannot be used.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The model pools in another way.
    #[error("1_Pooling/config.json of {model} asks for {found}: expected mean, cls or lasttoken")]
    Other {
        /// Name of the model, or its path.
        model: String,
        /// Ways that the file names.
        found: String,
    },
}

/// Reads how a model pools the vectors of a text's tokens: its `1_Pooling/config.json`. `None` if it has no such file, or the file
/// names no way.
///
/// # Errors
///
/// [`PoolingError`] for a file that cannot be used, and for another way than the mean, the first and the last token.
pub fn pooling(source: &Source) -> Result<Option<Pooling>, PoolingError> {
    let Some(config) = object(source, POOLING)? else { return Ok(None) };
    match &modes(&config)[..] {
        [] => Ok(None),
        [one] if one == "mean" || one == "mean_tokens" => Ok(Some(Pooling::Mean)),
        [one] if one == "cls" || one == "cls_token" => Ok(Some(Pooling::Cls)),
        [one] if one == "lasttoken" => Ok(Some(Pooling::Last)),
        several => Err(PoolingError::Other { model: source.name().to_owned(), found: several.join(" and ") }),
    }
}

/// Ways that the file turns on: `pooling_mode`, or the members `pooling_mode_…` that are true.
fn modes(config: &Map<String, Value>) -> Vec<String> {
    if let Some(mode) = config.get("pooling_mode").and_then(Value::as_str) {
        return vec![mode.to_owned()];
    }
    let is_on = |(name, value): (&String, &Value)| {
        let mode = name.strip_prefix("pooling_mode_")?;
        (value == &Value::Bool(true)).then(|| mode.to_owned())
    };
    config.iter().filter_map(is_on).collect()
}

/// Reads the longest text, in tokens, that a model of sentences reads: `max_seq_length` of its `sentence_bert_config.json`. `None` if
/// it has no such file.
///
/// # Errors
///
/// [`DocumentError`] for a file that cannot be used.
pub fn longest_text(source: &Source) -> Result<Option<usize>, DocumentError> {
    let config = object(source, "sentence_bert_config.json")?;
    let length = config.and_then(|config| config.get("max_seq_length").and_then(Value::as_u64));
    Ok(length.and_then(|length| usize::try_from(length).ok()).filter(|length| *length > 0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use longshore_manifest::document::{Import, TensorTable};
    use longshore_model::Facts;
    use serde_json::json;

    use super::*;

    fn source(file: &str, config: &Value) -> Source {
        let table = TensorTable::new(Facts::default(), Import::default(), Vec::new());
        Source::of_parts("m", table, [], BTreeMap::from([(file.to_owned(), config.to_string().into_bytes())]))
    }

    #[test]
    fn a_model_says_how_it_pools() {
        let of = |config: Value| pooling(&source(POOLING, &config));
        let old = |mode: &str| {
            let mut config =
                json!({"word_embedding_dimension": 4, "pooling_mode_max_tokens": false, "include_prompt": true});
            config[format!("pooling_mode_{mode}")] = true.into();
            config
        };
        assert_eq!(of(old("mean_tokens")).expect("it is known"), Some(Pooling::Mean));
        assert_eq!(of(old("cls_token")).expect("it is known"), Some(Pooling::Cls));
        assert_eq!(of(old("lasttoken")).expect("it is known"), Some(Pooling::Last));
        assert_eq!(of(json!({"pooling_mode": "cls"})).expect("it is known"), Some(Pooling::Cls));
        assert_eq!(of(json!({})).expect("it names none"), None);
        assert_eq!(pooling(&source("x", &json!({}))).expect("there is none"), None);
        let error = of(old("max_tokens")).expect_err("it is another");
        assert_eq!(
            error.to_string(),
            "1_Pooling/config.json of m asks for max_tokens: expected mean, cls or lasttoken"
        );
        let mut two = old("max_tokens");
        two["pooling_mode_mean_tokens"] = true.into();
        assert!(of(two).is_err());
        assert!(matches!(of(json!(1)), Err(PoolingError::Document(_))));
    }

    #[test]
    fn a_model_says_how_long_a_text_it_reads() {
        let of = |config: Value| longest_text(&source("sentence_bert_config.json", &config)).expect("it can be read");
        assert_eq!(of(json!({"max_seq_length": 256})), Some(256));
        assert_eq!(of(json!({"max_seq_length": 0})), None);
        assert_eq!(of(json!({})), None);
    }
}
