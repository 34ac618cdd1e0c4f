//! Statements that contradict each other.

use std::fmt;

/// Two statements about a model of which one is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{first} contradicts {second}: {rule}")]
pub struct Contradiction {
    /// One statement.
    pub first: Statement,
    /// The other statement.
    pub second: Statement,
    /// Condition that would have to hold.
    pub rule: &'static str,
}

/// Statement of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The place: a member of the configuration, such as `text_config.hidden_size`, or a tensor.
    pub source: String,
    /// What it says: a value, a length or a shape.
    pub value: String,
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.source, self.value)
    }
}

impl Statement {
    pub(crate) fn new(source: impl Into<String>, value: impl fmt::Display) -> Self {
        Self { source: source.into(), value: value.to_string() }
    }
}
