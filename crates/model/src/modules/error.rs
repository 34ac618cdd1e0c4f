//! Errors of matching names against modules.

/// Reason why the modules of a checkpoint cannot be told by the names in its configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// A name fits two modules.
    #[error("config.json describes {name:?}, which may be {first:?} or {second:?}")]
    Ambiguous {
        /// Name in the configuration.
        name: String,
        /// One module.
        first: String,
        /// Another module.
        second: String,
    },
    /// Two names that fit the same module describe it differently.
    #[error("config.json describes {module:?} twice and not alike, as {first:?} and as {second:?}")]
    Twice {
        /// The module.
        module: String,
        /// One name.
        first: String,
        /// The other name.
        second: String,
    },
    /// A pattern cannot be read.
    #[error("config.json has the pattern {pattern:?}, which cannot be read: {problem}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There are more patterns than are read.
    #[error("config.json has {found} patterns for modules, expected at most {limit}")]
    TooMany {
        /// Number of patterns.
        found: usize,
        /// The most that are read.
        limit: usize,
    },
}
