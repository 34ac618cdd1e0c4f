//! Text to token ids and back: tokenizer, chat template, sampler, stop strings.
//!
//! Nothing here runs a model. [`Tokenizer`] and [`ChatTemplate`] are made of a model's companion files, [`Sampler`] chooses a token
//! from logits, and [`StopStrings`] watches the text that comes out. [`pooling()`] reads how a model of sentences makes a vector, and
//! [`labels()`] the names of the classes of a model that sorts texts.

mod documents;
mod labels;
mod pooling;
mod sampler;
mod stop;
mod template;
mod tokenizer;

pub use documents::DocumentError;
pub use labels::labels;
pub use pooling::{PoolingError, longest_text, pooling};
pub use sampler::{Sampler, SamplerError, SamplerOptions};
pub use stop::{Released, StopStrings};
pub use template::{ChatTemplate, Message, TemplateError};
pub use tokenizer::{TextStream, Tokenizer, TokenizerError};
