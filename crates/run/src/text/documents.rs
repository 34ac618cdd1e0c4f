//! The JSON documents beside a model's weights, and what they say about tokens.

use longshore_manifest::weights::{Source, SourceError};
use serde_json::{Map, Value};

/// Reason why a document beside the weights cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] SourceError),
    /// The file is not a JSON object.
    #[error("{file} of {model}: expected a JSON object")]
    Json {
        /// Name of the model, or its path.
        model: String,
        /// Name of the file.
        file: &'static str,
        /// The parser's error; `None` for JSON that is no object.
        source: Option<serde_json::Error>,
    },
}

/// Reads a companion file that holds a JSON object. `None` if the model has no such file.
pub(super) fn object(source: &Source, file: &'static str) -> Result<Option<Map<String, Value>>, DocumentError> {
    let Some(bytes) = source.companion(file)? else { return Ok(None) };
    let fail = |error| DocumentError::Json { model: source.name().to_owned(), file, source: error };
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(members)) => Ok(Some(members)),
        Ok(_) => Err(fail(None)),
        Err(error) => Err(fail(Some(error))),
    }
}

/// Special tokens by role (`bos_token`, …), of `special_tokens_map.json` and `tokenizer_config.json`. The latter wins.
pub(super) fn special_tokens(source: &Source) -> Result<Vec<(String, String)>, DocumentError> {
    const ROLES: [&str; 7] =
        ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
    let documents = [object(source, "tokenizer_config.json")?, object(source, "special_tokens_map.json")?];
    let of = |role: &str| documents.iter().flatten().find_map(|document| token_text(document.get(role)?));
    Ok(ROLES.iter().filter_map(|role| Some(((*role).to_owned(), of(role)?))).collect())
}

/// Text of a token that a document writes as a string, or as an object with its `content`.
fn token_text(value: &Value) -> Option<String> {
    let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
    Some(text.to_owned())
}

/// Token ids of a member that is one id or a list of ids.
pub(super) fn ids(value: Option<&Value>) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(several)) => several.iter().filter_map(id).collect(),
        Some(one) => id(one).into_iter().collect(),
        None => Vec::new(),
    }
}
