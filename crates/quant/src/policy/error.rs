//! Why a policy cannot be had.

use super::Policy;

/// A policy name that is not built in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a policy ({}), found {found:?}", Policy::names().join(", "))]
#[non_exhaustive]
pub struct UnknownPolicy {
    /// What stood there instead.
    pub found: String,
}

/// Why a text is not a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
#[non_exhaustive]
pub struct PolicyError {
    /// The line, counted from 1.
    pub line: u32,
    /// The column in characters, counted from 1.
    pub column: u32,
    /// What is wrong there.
    pub problem: PolicyProblem,
}

/// What is wrong with the text of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyProblem {
    /// It is not TOML.
    #[error("not TOML: {message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// A table has a key that no such table has.
    #[error("{table} has no {found:?}, expected one of {}", known.join(", "))]
    UnknownKey {
        /// The table: "a rule", "a role".
        table: &'static str,
        /// The key.
        found: String,
        /// The keys that it may have.
        known: &'static [&'static str],
    },
    /// A table lacks a key.
    #[error("{table} needs a {key:?}")]
    MissingKey {
        /// The table: "a rule", "a role".
        table: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A value is of another type, or out of range.
    #[error("{key}: expected {expected}, found {found}")]
    Value {
        /// The key whose value it is.
        key: String,
        /// What would be right.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// There is more than a policy may have.
    #[error("at most {limit} {what} in a policy, found {found}")]
    TooMany {
        /// What there is too much of: "bytes", "rules".
        what: &'static str,
        /// How many there may be.
        limit: usize,
        /// How many there are; where counting stopped, so many at least.
        found: usize,
    },
    /// It bears the name of a built-in policy, and is another.
    #[error("expected a name of its own (such as name = \"mine\"), found {found:?}, which is a built-in policy")]
    Reserved {
        /// The name.
        found: String,
    },
}
