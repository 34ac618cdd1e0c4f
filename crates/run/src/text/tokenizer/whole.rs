//! A tokenizer with what the documents beside it say.

use longshore_manifest::weights::Source;
use serde_json::{Map, Value};

use super::{error::TokenizerError, guard::guarded, marks::Marks};
use crate::text::documents::{DocumentError, ids, object, special_tokens};

/// Largest `tokenizer.json`, in bytes. The largest of published models have some 35 MB.
const MAX_BYTES: usize = 256 << 20;

/// A model's tokenizer, with what the documents beside it say about the tokens that begin and end a text.
///
/// ```
/// use longshore_run::text::Tokenizer;
///
/// let json = br#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}, "added_tokens": []}"#;
/// let tokenizer = Tokenizer::from_bytes(json)?;
/// assert_eq!(tokenizer.encode("aab")?, [0, 2]);
/// assert_eq!(tokenizer.decode(&[0, 2])?, "a ab");
/// # Ok::<(), longshore_run::text::TokenizerError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Box<tokenizers::Tokenizer>,
    marks: Marks,
    /// Ids that end an answer, sorted.
    ends: Vec<u32>,
    /// Number of rows of the model's embedding; `None` if unknown.
    rows: Option<u64>,
}

impl Tokenizer {
    /// Reads the tokenizer of a model from its companion files: `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`
    /// and `generation_config.json`.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::None`] for a model without a `tokenizer.json`, [`TokenizerError::Parse`] for one that is no tokenizer,
    /// [`TokenizerError::Document`] for another document that cannot be read, and [`TokenizerError::Vocabulary`] for a vocabulary of
    /// more tokens than the model has.
    pub fn open(source: &Source) -> Result<Self, TokenizerError> {
        let model = || source.name().to_owned();
        let bytes = source.companion("tokenizer.json").map_err(DocumentError::from)?;
        let bytes = bytes.ok_or_else(|| TokenizerError::None { model: model() })?;
        let mut tokenizer = Self::from_bytes(&bytes)?;
        let config = object(source, "tokenizer_config.json")?.unwrap_or_default();
        let generation = object(source, "generation_config.json")?.unwrap_or_default();
        let special = special_tokens(source)?;
        let token = |role: &str| {
            let text = special.iter().find(|(name, _)| name == role).map(|(_, text)| text)?;
            tokenizer.inner.token_to_id(text)
        };
        let (bos, eos) = (token("bos_token"), token("eos_token"));
        tokenizer.marks.obey(&config, bos, eos);
        let facts = &source.table().facts;
        tokenizer.ends = ends_of(&generation, eos, &facts.tokens.eos);
        tokenizer.rows = facts.vocabulary;
        tokenizer.check_vocabulary(&model())?;
        Ok(tokenizer)
    }

    /// Makes a tokenizer of the bytes of a `tokenizer.json` alone. No id ends a text then.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Parse`] for bytes that are no tokenizer.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenizerError> {
        if bytes.len() > MAX_BYTES {
            let problem = format!("it has {} bytes, expected at most {MAX_BYTES}", bytes.len());
            return Err(TokenizerError::Parse { problem });
        }
        let parsed = guarded(|| tokenizers::Tokenizer::from_bytes(bytes));
        let mut inner = parsed.map_err(|problem| TokenizerError::Parse { problem })?;
        // Limits and padding are the caller's: these are settings of whoever saved the file.
        inner.with_padding(None);
        let cut = inner.with_truncation(None).map(|_| ());
        cut.map_err(|error| TokenizerError::Parse { problem: error.to_string() })?;
        let marks = Marks::of(&inner)?;
        Ok(Self { inner: Box::new(inner), marks, ends: Vec::new(), rows: None })
    }

    /// Encodes a text, without the tokens that begin and end one. Names of special tokens in it become these tokens.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Encode`] where the tokenizer fails, [`TokenizerError::Id`] for a token that the model does not have.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoded = guarded(|| self.inner.encode_fast(text, false));
        let encoded = encoded.map_err(|problem| TokenizerError::Encode { problem })?;
        self.check_ids(encoded.get_ids())?;
        Ok(encoded.get_ids().to_vec())
    }

    /// Encodes a prompt that a model continues: the tokens that begin a text, such as BOS, and the text.
    ///
    /// # Errors
    ///
    /// As for [`Self::encode`].
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut tokens = self.marks.start.clone();
        tokens.extend(self.encode(text)?);
        self.check_ids(&self.marks.start)?;
        Ok(tokens)
    }

    /// Encodes a whole text, with the tokens that begin and end one, as an encoder such as BERT reads it.
    ///
    /// # Errors
    ///
    /// As for [`Self::encode`].
    pub fn encode_whole(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut tokens = self.encode_prompt(text)?;
        tokens.extend(&self.marks.end);
        self.check_ids(&self.marks.end)?;
        Ok(tokens)
    }

    /// Returns the tokens that the tokenizer puts before a text, such as BOS.
    #[must_use]
    pub fn start(&self) -> &[u32] {
        &self.marks.start
    }

    /// Returns the tokens that the tokenizer puts after a text, such as BERT's separator.
    #[must_use]
    pub fn end(&self) -> &[u32] {
        &self.marks.end
    }

    /// Whether a token ends an answer.
    #[must_use]
    pub fn is_end(&self, token: u32) -> bool {
        self.ends.binary_search(&token).is_ok()
    }

    /// Returns the ids that end an answer, sorted.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Returns the number of tokens, added ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether there are no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether two tokenizers give every token the same id, so that ids of one can be read by the model of the other.
    #[must_use]
    pub fn has_same_vocabulary(&self, other: &Self) -> bool {
        self.len() == other.len() && self.inner.get_vocab(true) == other.inner.get_vocab(true)
    }

    /// Returns the text of a token as the vocabulary has it. `None` for an id without a token.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Decodes tokens at once, special tokens left out. [`Self::stream`] decodes them as they come.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Decode`] where the tokenizer fails.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TokenizerError> {
        guarded(|| self.inner.decode(tokens, true)).map_err(|problem| TokenizerError::Decode { problem })
    }

    /// Refuses a vocabulary, added tokens apart, that does not fit into the model's. A single added token beyond it, as some text models
    /// of image models have, is refused only where a text names it.
    fn check_vocabulary(&self, model: &str) -> Result<(), TokenizerError> {
        let Some(rows) = self.rows else { return Ok(()) };
        let tokens = self.inner.get_vocab_size(false) as u64;
        if tokens > rows {
            return Err(TokenizerError::Vocabulary { model: model.to_owned(), tokens, rows });
        }
        Ok(())
    }

    fn check_ids(&self, tokens: &[u32]) -> Result<(), TokenizerError> {
        let Some(rows) = self.rows else { return Ok(()) };
        match tokens.iter().find(|&&token| u64::from(token) >= rows) {
            Some(&id) => Err(TokenizerError::Id { id, token: self.token(id).unwrap_or_default(), rows }),
            None => Ok(()),
        }
    }
}

/// Ids that end an answer: those of the generation config, or else of the configuration; and the tokenizer's own.
fn ends_of(generation: &Map<String, Value>, eos: Option<u32>, facts: &[u64]) -> Vec<u32> {
    let mut ends = ids(generation.get("eos_token_id"));
    if ends.is_empty() {
        ends = facts.iter().filter_map(|&id| u32::try_from(id).ok()).collect();
    }
    ends.extend(eos);
    ends.sort_unstable();
    ends.dedup();
    ends
}
