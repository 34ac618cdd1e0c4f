//! Prompts that fit into a context.

use std::borrow::Cow;

use super::{error::GenerateError, options::GenerateOptions};

/// Returns the tokens of a prompt that fit into `room` tokens. Where they do not and the options allow it, the beginning is dropped after
/// the first `kept` tokens, such as BOS, so that there is room for the answer, and half of the room is the prompt's at least.
///
/// # Errors
///
/// [`GenerateError::Empty`] for no tokens, [`GenerateError::Prompt`] for tokens that do not fit.
pub fn fitting<'p>(
    prompt: &'p [u32],
    kept: usize,
    room: usize,
    options: &GenerateOptions,
) -> Result<Cow<'p, [u32]>, GenerateError> {
    if prompt.is_empty() {
        return Err(GenerateError::Empty);
    }
    if prompt.len() <= room {
        return Ok(Cow::Borrowed(prompt));
    }
    if !options.truncate || room == 0 {
        return Err(GenerateError::Prompt { tokens: prompt.len(), limit: room });
    }
    let length = room.saturating_sub(options.max_tokens).max(room / 2).max(1);
    let kept = kept.min(length - 1);
    let (start, end) = (&prompt[..kept], &prompt[prompt.len() - (length - kept)..]);
    Ok(Cow::Owned([start, end].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(room: usize, kept: usize, options: &GenerateOptions) -> Result<Vec<u32>, GenerateError> {
        fitting(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], kept, room, options).map(Cow::into_owned)
    }

    #[test]
    fn a_prompt_fits_or_is_an_error() {
        let options = GenerateOptions::default();
        assert_eq!(cut(10, 1, &options).expect("it fits").len(), 10);
        let error = cut(9, 1, &options).expect_err("it does not");
        assert_eq!(error.to_string(), "the prompt has 10 tokens, expected at most 9");
        assert!(matches!(fitting(&[], 0, 5, &options), Err(GenerateError::Empty)));
    }

    #[test]
    fn a_cut_prompt_keeps_its_first_token_and_its_end() {
        let options = |max_tokens| GenerateOptions { truncate: true, max_tokens, ..Default::default() };
        assert_eq!(cut(9, 1, &options(3)).expect("it is cut"), [0, 5, 6, 7, 8, 9]);
        assert_eq!(cut(8, 1, &options(100)).expect("it is cut"), [0, 7, 8, 9]);
        assert_eq!(cut(8, 0, &options(100)).expect("it is cut"), [6, 7, 8, 9]);
        assert_eq!(cut(1, 3, &options(1)).expect("it is cut"), [9]);
        assert!(cut(0, 1, &options(1)).is_err());
    }
}
