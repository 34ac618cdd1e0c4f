//! Text to token ids and back, by a model's `tokenizer.json`.

mod error;
mod guard;
mod marks;
mod stream;
mod whole;

pub use error::TokenizerError;
pub use stream::TextStream;
pub use whole::Tokenizer;

#[cfg(test)]
mod tests;
