//! Parsing a configuration document.

use serde_json::{Map, Value};

use super::lenient;
use crate::facts::Contradiction;

/// Largest `config.json` that is parsed, in bytes. Published ones are below 100 KiB.
pub const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Reason why a document is not a [`ModelConfig`](crate::ModelConfig).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The document is longer than [`MAX_CONFIG_BYTES`].
    #[error("it has {found} bytes, more than the {MAX_CONFIG_BYTES} that are read")]
    TooLarge {
        /// Length of the document in bytes.
        found: u64,
    },
    /// The bytes are not JSON.
    #[error("it is not JSON")]
    Json {
        /// Error of the JSON parser, with the position in the document.
        source: serde_json::Error,
    },
    /// The JSON is not an object.
    #[error("expected a JSON object, found {found}")]
    NotAnObject {
        /// Kind of the JSON value that was found.
        found: &'static str,
    },
    /// Two members contradict each other.
    #[error("it contradicts itself")]
    Contradiction {
        /// Both members, with their values.
        source: Box<Contradiction>,
    },
}

/// Parses a JSON object of at most [`MAX_CONFIG_BYTES`]. Accepts Python's `NaN`, `Infinity` and `-Infinity`.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, ConfigError> {
    parse_object_of(bytes, MAX_CONFIG_BYTES)
}

/// Parses a JSON object of at most `limit` bytes, like [`parse_object`].
pub(crate) fn parse_object_of(bytes: &[u8], limit: u64) -> Result<Map<String, Value>, ConfigError> {
    let found = bytes.len() as u64;
    if found > limit {
        return Err(ConfigError::TooLarge { found });
    }
    match serde_json::from_slice(&lenient::strict(bytes)).map_err(|source| ConfigError::Json { source })? {
        Value::Object(object) => Ok(object),
        other => Err(ConfigError::NotAnObject { found: kind_of(&other) }),
    }
}

/// Returns a string that is not empty.
pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
