//! Errors from choosing or parsing a policy.

use super::Policy;

/// Error from looking a policy up by a name that is not built in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a policy ({}), found {found:?}", Policy::names().join(", "))]
#[non_exhaustive]
pub struct UnknownPolicy {
    /// The name as found.
    pub found: String,
}

/// Error from parsing a policy, with the position of the fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
#[non_exhaustive]
pub struct PolicyError {
    /// Line of the fault, counted from 1.
    pub line: u32,
    /// Column of the fault in characters, counted from 1.
    pub column: u32,
    /// The fault.
    pub problem: PolicyProblem,
}

/// A fault in the text of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyProblem {
    /// The text is not TOML.
    #[error("not TOML: {message}")]
    Syntax {
        /// Message of the TOML parser.
        message: String,
    },
    /// A table has an unknown key.
    #[error("{table} has no {found:?}, expected one of {}", known.join(", "))]
    UnknownKey {
        /// Kind of the table, with its article: "a rule", "a role".
        table: &'static str,
        /// The unknown key.
        found: String,
        /// The keys that this kind of table may have.
        known: &'static [&'static str],
    },
    /// A table lacks a required key.
    #[error("{table} needs a {key:?}")]
    MissingKey {
        /// Kind of the table, with its article: "a rule", "a role".
        table: &'static str,
        /// The missing key.
        key: &'static str,
    },
    /// A value has the wrong type, or is out of range.
    #[error("{key}: expected {expected}, found {found}")]
    Value {
        /// Key of the value.
        key: String,
        /// Description of the permitted values.
        expected: String,
        /// The value as found.
        found: String,
    },
    /// A policy has more of something than it may have.
    #[error("at most {limit} {what} in a policy, found {found}")]
    TooMany {
        /// Plural of the counted thing: "bytes", "rules".
        what: &'static str,
        /// Largest permitted number.
        limit: usize,
        /// Number found. Where counting stopped early, a lower bound.
        found: usize,
    },
    /// The policy has the name of a built-in policy, but another text.
    #[error("expected a name of its own (such as name = \"mine\"), found {found:?}, which is a built-in policy")]
    Reserved {
        /// The name as found.
        found: String,
    },
}
