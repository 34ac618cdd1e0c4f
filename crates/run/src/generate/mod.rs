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
mod error;
mod options;
mod prompt;
mod stream;

pub use batch::generate_batch;
pub use chat::Chat;
pub use classify::classify;
pub use error::GenerateError;
pub use options::{GenerateOptions, Generation, Seconds, StopReason};
pub use prompt::fitting;
pub use stream::{GenerateStream, Piece};

use crate::{Model, Session, text::Tokenizer};

/// Continues a prompt, which is sent as it is: nothing but the token that the tokenizer puts before a text is added.
///
/// # Errors
///
/// [`GenerateError`].
pub fn generate(
    model: &Model,
    tokenizer: &Tokenizer,
    prompt: &str,
    options: &GenerateOptions,
) -> Result<Generation, GenerateError> {
    let mut session = model.session();
    let tokens = tokenizer.encode_prompt(prompt)?;
    generate_stream(&mut session, tokenizer, &tokens, options)?.finish()
}

/// Continues tokens, and gives the text as it comes. The session may hold tokens already, which the new ones follow.
///
/// ```no_run
/// # use longshore_run::{LoadOptions, Model, generate::*, manifest::weights::Source, text::Tokenizer};
/// let model = Model::open(Source::open("./SmolLM2-135M")?, LoadOptions::default())?;
/// let tokenizer = Tokenizer::open(model.source())?;
/// let mut session = model.session();
/// let prompt = tokenizer.encode_prompt("Once upon a time")?;
/// for piece in generate_stream(&mut session, &tokenizer, &prompt, &GenerateOptions::default())? {
///     print!("{}", piece?.text);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`GenerateError::Prompt`] for a prompt that does not fit, [`GenerateError::Sampler`] for an option that is out of its range. The
/// stream gives the other errors.
pub fn generate_stream<'s, 'm, 't>(
    session: &'s mut Session<'m>,
    tokenizer: &'t Tokenizer,
    prompt: &[u32],
    options: &GenerateOptions,
) -> Result<GenerateStream<'s, 'm, 't>, GenerateError> {
    GenerateStream::new(session, tokenizer, prompt, options)
}
