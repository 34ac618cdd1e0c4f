//! Errors of generations.

use crate::{
    error::RunError,
    text::{SamplerError, TemplateError, TokenizerError},
};

/// Reason why no text can be generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The prompt has no tokens, and the tokenizer adds none.
    #[error("the prompt is empty: expected text, as the tokenizer puts no token before one")]
    Empty,
    /// The prompt does not fit into the context.
    #[error("the prompt has {tokens} tokens, expected at most {limit}")]
    Prompt {
        /// Tokens of the prompt, with those of the session before it.
        tokens: usize,
        /// Most tokens of a sequence.
        limit: usize,
    },
    /// The conversation does not fit into the context, even without its older turns.
    #[error("the conversation has {tokens} tokens, expected at most {limit}")]
    Conversation {
        /// Tokens of the conversation.
        tokens: usize,
        /// Most tokens of a sequence.
        limit: usize,
    },
    /// A draft helps only where the likeliest token is taken.
    #[error("a draft model helps a greedy answer only: expected a temperature of 0 and no repetition penalty")]
    Draft,
    /// The model cannot run the tokens.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The tokenizer fails.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template fails.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// No token can be chosen.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
}
