//! Tokens to text as they come.

use super::{error::TokenizerError, whole::Tokenizer};

/// Sign that decoders put in place of bytes that are no UTF-8.
const BROKEN: char = char::REPLACEMENT_CHARACTER;
/// Most tokens that wait for the rest of a character: one of four bytes can be missing its last.
const WAITING: usize = 3;
/// Most tokens without a text that are kept.
const SILENT: usize = 16;

/// Decodes tokens one by one. Bytes of a character wait for their rest; a few tokens before are decoded again with each, since how a
/// token reads may depend on the one before it.
///
/// For tokens that make valid UTF-8, all pieces together are what [`Tokenizer::decode`] gives. Bytes that are no UTF-8 become
/// replacement characters, of which there may be more than there.
#[derive(Debug, Clone)]
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    /// Tokens whose text was given last, and then those that wait.
    tokens: Vec<u32>,
    /// Number of the former.
    given: usize,
    /// Text of the former.
    text: String,
}

impl Tokenizer {
    /// Starts to decode tokens one by one.
    #[must_use]
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, tokens: Vec::new(), given: 0, text: String::new() }
    }
}

impl TextStream<'_> {
    /// Adds a token and returns the text that it completes, which may be empty.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Decode`] where the tokenizer fails.
    pub fn push(&mut self, token: u32) -> Result<String, TokenizerError> {
        self.tokens.push(token);
        let whole = self.tokenizer.decode(&self.tokens)?;
        if !whole.ends_with(BROKEN) {
            return self.give(self.tokens.len(), &whole);
        }
        let waiting = self.tokens.len() - self.given;
        if waiting <= WAITING {
            return Ok(String::new());
        }
        let end = self.tokens.len() - WAITING;
        let whole = self.tokenizer.decode(&self.tokens[..end])?;
        self.give(end, &whole)
    }

    /// Returns the text of the tokens that still wait, at the end of the text.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Decode`] where the tokenizer fails.
    pub fn finish(&mut self) -> Result<String, TokenizerError> {
        let whole = self.tokenizer.decode(&self.tokens)?;
        self.give(self.tokens.len(), &whole)
    }

    /// Gives the text of the tokens up to `end`, of which `whole` is the text with that given before.
    fn give(&mut self, end: usize, whole: &str) -> Result<String, TokenizerError> {
        // A decoder may change what it gave before, such as a space before a comma: what is out is out.
        let same = whole.bytes().zip(self.text.bytes()).take_while(|(new, old)| new == old).count();
        let start = (0..=same).rev().find(|&at| whole.is_char_boundary(at)).unwrap_or_default();
        let piece = whole[start..].to_owned();
        // A token without text, such as a special one, may still tell how the next one reads.
        if piece.is_empty() && end - self.given <= SILENT {
            return Ok(piece);
        }
        self.tokens.drain(..self.given);
        self.given = end - self.given;
        self.text = self.tokenizer.decode(&self.tokens[..self.given])?;
        Ok(piece)
    }
}
