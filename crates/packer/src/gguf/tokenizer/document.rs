//! The parts of a `tokenizer.json` that is written.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// A `tokenizer.json`.
#[derive(Serialize)]
pub(super) struct Document<'v> {
    pub(super) version: &'static str,
    pub(super) truncation: (),
    pub(super) padding: (),
    pub(super) added_tokens: Vec<AddedToken<'v>>,
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) post_processor: Value,
    pub(super) decoder: Value,
    pub(super) model: Model<'v>,
}

/// A token that is found in a text before the model sees it.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a member of its own")]
pub(super) struct AddedToken<'v> {
    pub(super) id: u32,
    pub(super) content: &'v str,
    pub(super) single_word: bool,
    pub(super) lstrip: bool,
    pub(super) rstrip: bool,
    pub(super) normalized: bool,
    pub(super) special: bool,
}

/// The model of a tokenizer.
#[derive(Serialize)]
#[serde(tag = "type")]
pub(super) enum Model<'v> {
    #[serde(rename = "BPE")]
    Bpe {
        dropout: (),
        unk_token: Option<&'v str>,
        continuing_subword_prefix: (),
        end_of_word_suffix: (),
        fuse_unk: bool,
        byte_fallback: bool,
        ignore_merges: bool,
        vocab: Tokens<'v>,
        merges: Merges<'v>,
    },
    Unigram {
        unk_id: Option<u32>,
        vocab: Vec<(&'v str, f64)>,
        byte_fallback: bool,
    },
    WordPiece {
        unk_token: &'v str,
        continuing_subword_prefix: &'static str,
        max_input_chars_per_word: u32,
        vocab: Tokens<'v>,
    },
}

/// Tokens as an object that gives each its number.
pub(super) struct Tokens<'v>(pub(super) Vec<Cow<'v, str>>);

impl Serialize for Tokens<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().enumerate().map(|(id, token)| (token, id)))
    }
}

/// Merges as one text each, or as two where a token has a space.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Merges<'v> {
    Texts(&'v [String]),
    Pairs(Vec<(&'v str, &'v str)>),
}
