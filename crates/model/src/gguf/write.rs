//! Keys of GGUF metadata, made of facts.

use super::{families::Family, value::GgufValue};
use crate::Facts;

/// Why a configuration has no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The family is not known in GGUF.
    #[error("the architecture {name:?} has no known keys in GGUF")]
    Family {
        /// Class or `model_type`.
        name: String,
    },
    /// A fact that the keys need is not known.
    #[error("{fact} of {name} is not known, which GGUF needs as {key}")]
    Missing {
        /// Class or `model_type`.
        name: String,
        /// The fact.
        fact: &'static str,
        /// The key.
        key: String,
    },
}

/// The keys of a model's configuration, `general.architecture` first, with the types that llama.cpp reads.
///
/// # Errors
///
/// [`KeysError::Family`] or [`KeysError::Missing`].
pub fn keys_of(facts: &Facts) -> Result<Vec<(String, GgufValue)>, KeysError> {
    let name = facts.architecture.clone().or_else(|| facts.model_type.clone()).unwrap_or_default();
    let by_type = facts.model_type.as_deref().and_then(Family::of_model_type);
    let family = by_type.or_else(|| Family::of_class(&name)).ok_or(KeysError::Family { name })?;
    Ok(vec![("general.architecture".to_owned(), GgufValue::Text(family.gguf.to_owned()))])
}
