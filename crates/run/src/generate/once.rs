//! An answer at once.

use super::{
    error::GenerateError,
    options::{GenerateOptions, Generation},
    stream::generate_stream,
};
use crate::{model::Model, text::Tokenizer};

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
