//! Options and outcome of a generation.

use crate::text::SamplerOptions;

/// Options of a generation. Later versions may add fields: `..Default::default()` fills them in.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens of the answer.
    pub max_tokens: usize,
    /// Choice of tokens.
    pub sampler: SamplerOptions,
    /// Texts that end the answer where they appear, and are no part of it.
    pub stop: Vec<String>,
    /// Whether the beginning of a prompt that is too long is dropped; otherwise it is an error.
    pub truncate: bool,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { max_tokens: 256, sampler: SamplerOptions::default(), stop: Vec::new(), truncate: false }
    }
}

/// Reason why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The model ended it.
    End,
    /// It has as many tokens as it may have, or the context is full.
    Length,
    /// A stop string appeared.
    String,
}

/// Times of a generation, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Seconds {
    /// From the start to the first token.
    pub first_token: f64,
    /// Time of the prompt.
    pub prefill: f64,
    /// Time of the tokens after the first.
    pub decode: f64,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The text, without the prompt.
    pub text: String,
    /// The tokens, without the prompt and without the token that ended it.
    pub tokens: Vec<u32>,
    /// Number of tokens of the prompt.
    pub prompt_tokens: usize,
    /// Reason of the end.
    pub stop: StopReason,
    /// Times.
    pub seconds: Seconds,
}
