//! Errors of tokenizers.

use crate::text::documents::DocumentError;

/// Reason why a text cannot be turned into tokens, or back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The model has no tokenizer.
    #[error("{model} has no tokenizer: expected tokenizer.json beside its weights")]
    None {
        /// Name of the model, or its path.
        model: String,
    },
    /// `tokenizer.json` is not one.
    #[error("tokenizer.json is no tokenizer: {problem}")]
    Parse {
        /// The problem.
        problem: String,
    },
    /// A document beside the tokenizer cannot be used.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The vocabulary has more tokens than the model has embeddings.
    #[error("the tokenizer of {model} has {tokens} tokens, and the model embeds {rows}: it is another model's")]
    Vocabulary {
        /// Name of the model, or its path.
        model: String,
        /// Number of tokens, added ones apart.
        tokens: u64,
        /// Rows of the embedding.
        rows: u64,
    },
    /// A token is beyond the model's embeddings.
    #[error("token {id} ({token:?}) is not in the model's vocabulary of {rows}")]
    Id {
        /// The id.
        id: u32,
        /// Text of the token.
        token: String,
        /// Rows of the embedding.
        rows: u64,
    },
    /// The tokenizer cannot encode a text.
    #[error("the text cannot be encoded: {problem}")]
    Encode {
        /// The tokenizer's words.
        problem: String,
    },
    /// The tokenizer cannot decode tokens.
    #[error("the tokens cannot be decoded: {problem}")]
    Decode {
        /// The tokenizer's words.
        problem: String,
    },
}
