//! Draft heads: tensors of a model that predict further tokens than the next, for speculative decoding.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A draft head: the tensors whose names begin with a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftHead {
    /// The kind of head, which says what its tensors are.
    pub role: HeadRole,
    /// Prefix of the names of its tensors, such as `draft.` or `model.layers.61.`. No other tensor has it.
    pub prefix: String,
}

/// The kind of a draft head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HeadRole {
    /// EAGLE-3: one decoder layer over hidden states of three layers of the target, with a vocabulary of its own.
    Eagle3,
    /// A layer after the decoder's that predicts one token more (MTP, `nextn`).
    Mtp,
}

impl DraftHead {
    /// Names a head by its kind and the prefix of its tensors.
    #[must_use]
    pub fn new(role: HeadRole, prefix: impl Into<String>) -> Self {
        Self { role, prefix: prefix.into() }
    }

    /// Whether the stored tensor called `tensor` belongs to the head.
    #[must_use]
    pub fn has(&self, tensor: &str) -> bool {
        !self.prefix.is_empty() && tensor.starts_with(&self.prefix)
    }
}

/// Spells the kind as its authors do.
impl fmt::Display for HeadRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eagle3 => "EAGLE-3",
            Self::Mtp => "MTP",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_the_tensors_with_its_prefix() {
        let head = DraftHead::new(HeadRole::Eagle3, "draft.");
        assert!(head.has("draft.fc.weight") && !head.has("drafty") && !head.has("fc.weight"));
        assert!(!DraftHead::new(HeadRole::Mtp, "").has("fc.weight"), "no prefix has none");
        let text = serde_json::to_string(&head).expect("it is a document");
        assert_eq!(text, r#"{"role":"eagle3","prefix":"draft."}"#);
    }
}
