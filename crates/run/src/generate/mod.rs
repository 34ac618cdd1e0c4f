//! Text from a model: at once, as it comes, for several prompts together, and in conversations.
//!
//! ```no_run
//! use longshore_run::{
//!     LoadOptions, Model,
//!     generate::{GenerateOptions, generate},
//!     manifest::weights::Source,
//!     text::Tokenizer,
//! };
//!
//! let model = Model::open(Source::open("./SmolLM2-135M")?, LoadOptions::default())?;
//! let tokenizer = Tokenizer::open(model.source())?;
//! let answer = generate(&model, &tokenizer, "The capital of France is", &GenerateOptions::default())?;
//! println!("{}", answer.text);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod chat;
mod classify;
mod draft;
mod error;
mod once;
mod options;
mod prompt;
mod stream;

pub use batch::generate_batch;
pub use chat::Chat;
pub use classify::classify;
pub use draft::{Drafted, generate_drafted};
pub use error::GenerateError;
pub use once::generate;
pub use options::{GenerateOptions, Generation, Seconds, StopReason};
pub use prompt::fitting;
pub use stream::{GenerateStream, Piece, generate_stream};
