/// Reason why a draft head cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// Some tensors of the head are there, and others are not.
    #[error("the {kind} head is incomplete: it lacks {}", quoted(names))]
    Missing {
        /// Kind of the head.
        kind: &'static str,
        /// Names of the tensors that are missing.
        names: Vec<String>,
    },
    /// A tensor of the head does not fit the head, or the model that it helps.
    #[error("tensor {tensor:?} of the {kind} head has shape {found:?}, expected {expected}")]
    Shape {
        /// Kind of the head.
        kind: &'static str,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<u64>,
        /// The shape that fits, and what states it.
        expected: String,
    },
    /// The draft is a head of another kind, which is not run.
    #[error("the draft is an {kind} head ({reason}), expected an EAGLE-3 head, or a smaller model")]
    Kind {
        /// Kind of the head.
        kind: &'static str,
        /// The tensor that shows it, in words.
        reason: String,
    },
    /// The head reads hidden states that the model no longer has.
    #[error(
        "an EAGLE-3 head reads hidden states of the model that it was trained with, and the residual stream of this one is rotated"
    )]
    Rotated,
    /// A map between the vocabularies of head and target cannot be used.
    #[error("the map {tensor:?} of the EAGLE-3 head is wrong: {problem}")]
    Map {
        /// The map.
        tensor: &'static str,
        /// The error in it.
        problem: String,
    },
}

impl HeadError {
    /// Advice to the user, if there is any for this error.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } => Some("check that the checkpoint is complete"),
            Self::Shape { .. } => Some("check that the head was made for this model"),
            Self::Rotated => Some("import the checkpoint with --draft DIR and without --rotate"),
            Self::Kind { .. } | Self::Map { .. } => None,
        }
    }
}

/// Names of tensors, which are text of a file.
fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}
