//! `tokenizer.json`, made of what GGUF metadata states.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{
    base64,
    document::{AddedToken, Document, Merges, Model, Tokens},
    merges,
    names::{GOES_ON, SPACE},
    pre_tokenizer,
    vocabulary::{Kind, TokenType, Vocabulary},
};

impl Vocabulary {
    /// The bytes of a `tokenizer.json` that makes the tokens that llama.cpp makes.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let (normalizer, pre_tokenizer, decoder) = self.steps();
        let document = Document {
            version: "1.0",
            truncation: (),
            padding: (),
            added_tokens: self.added_tokens(),
            normalizer,
            pre_tokenizer,
            post_processor: self.post_processor(),
            decoder,
            model: self.model(),
        };
        serde_json::to_vec(&document).expect("it has neither keys that are no texts nor numbers that are not finite")
    }

    /// Normalizer, pre-tokenizer and decoder.
    fn steps(&self) -> (Value, Value, Value) {
        let space = || json!({ "String": SPACE });
        match self.kind {
            Kind::ByteLevel => {
                let decoder =
                    json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true });
                (Value::Null, self.split.map_or(Value::Null, pre_tokenizer::build), decoder)
            }
            Kind::SentencePiece => {
                let escape = json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE });
                let mut decoders = vec![
                    json!({ "type": "Replace", "pattern": space(), "content": " " }),
                    json!({ "type": "ByteFallback" }),
                    json!({ "type": "Fuse" }),
                ];
                let mut normalizers = vec![escape];
                if self.adds_space {
                    normalizers.insert(0, json!({ "type": "Prepend", "prepend": SPACE }));
                    decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
                }
                let decoder = json!({ "type": "Sequence", "decoders": decoders });
                (json!({ "type": "Sequence", "normalizers": normalizers }), Value::Null, decoder)
            }
            Kind::Unigram => {
                let mut normalizers = Vec::new();
                if !self.charsmap.is_empty() {
                    let map = base64::encode(&self.charsmap);
                    normalizers.push(json!({ "type": "Precompiled", "precompiled_charsmap": map }));
                }
                if self.merges_spaces {
                    normalizers.push(json!({ "type": "Strip", "strip_left": true, "strip_right": true }));
                    let several = json!({ "Regex": " {2,}" });
                    normalizers.push(json!({ "type": "Replace", "pattern": several, "content": " " }));
                }
                // Spaces that count as one leave one before each word, the first too.
                let scheme = if self.adds_space || self.merges_spaces { "always" } else { "never" };
                let metaspace =
                    json!({ "type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": false });
                let normalizer = json!({ "type": "Sequence", "normalizers": normalizers });
                (normalizer, metaspace.clone(), metaspace)
            }
            Kind::WordPiece => {
                let normalizer = json!({
                    "type": "BertNormalizer",
                    "clean_text": true,
                    "handle_chinese_chars": true,
                    "strip_accents": self.strips_accents,
                    "lowercase": self.lowercases,
                });
                let decoder = json!({ "type": "WordPiece", "prefix": GOES_ON, "cleanup": true });
                (normalizer, json!({ "type": "BertPreTokenizer" }), decoder)
            }
        }
    }

    fn model(&self) -> Model<'_> {
        let vocab = || Tokens(self.tokens.iter().map(|token| Cow::Borrowed(token.as_str())).collect());
        let unknown = self.token(self.special.unknown);
        let has_bytes = self.types.contains(&TokenType::Byte);
        let bpe = |unk_token, fuse_unk, byte_fallback, ignore_merges, merges| Model::Bpe {
            dropout: (),
            unk_token,
            continuing_subword_prefix: (),
            end_of_word_suffix: (),
            fuse_unk,
            byte_fallback,
            ignore_merges,
            vocab: vocab(),
            merges,
        };
        match self.kind {
            Kind::ByteLevel => {
                let ignores = self.split.is_some_and(|split| split.ignores_merges);
                bpe(None, false, false, ignores, self.stated_merges())
            }
            Kind::SentencePiece => {
                let merges = merges::of_scores(&self.tokens, &self.scores);
                bpe(unknown, true, has_bytes, false, Merges::Pairs(merges))
            }
            Kind::Unigram => Model::Unigram {
                unk_id: self.special.unknown,
                vocab: self
                    .tokens
                    .iter()
                    .zip(&self.scores)
                    .map(|(token, score)| (&**token, f64::from(*score)))
                    .collect(),
                byte_fallback: has_bytes,
            },
            Kind::WordPiece => Model::WordPiece {
                unk_token: unknown.unwrap_or("[UNK]"),
                continuing_subword_prefix: GOES_ON,
                max_input_chars_per_word: 100,
                vocab: Tokens(self.tokens.iter().zip(&self.types).map(|(token, kind)| word(token, *kind)).collect()),
            },
        }
    }

    /// The merges as they are stated, or as pairs if the place of the space that divides one is not plain.
    fn stated_merges(&self) -> Merges<'_> {
        let is_plain =
            |merge: &String| merge.bytes().filter(|byte| *byte == b' ').count() == 1 && !merge.starts_with(' ');
        if self.merges.iter().all(is_plain) {
            return Merges::Texts(&self.merges);
        }
        let halves = |merge: &'_ String| -> Option<(usize, usize)> {
            let at = merge.char_indices().skip(1).find(|(_, letter)| *letter == ' ')?.0;
            Some((at, at + 1))
        };
        let pairs = self.merges.iter().filter_map(|merge| {
            let (end, start) = halves(merge)?;
            Some((&merge[..end], &merge[start..]))
        });
        Merges::Pairs(pairs.collect())
    }

    /// The tokens that are found in a text first: those with a meaning, and those that a user defined.
    fn added_tokens(&self) -> Vec<AddedToken<'_>> {
        let is_special = |id: u32, kind: TokenType| {
            let unknown = self.kind != Kind::Unigram && kind == TokenType::Unknown;
            kind == TokenType::Control || unknown || (self.kind == Kind::WordPiece && self.special.unknown == Some(id))
        };
        let tokens = (0_u32..).zip(&self.tokens).zip(&self.types);
        let added = tokens.filter_map(|((id, content), kind)| {
            let special = is_special(id, *kind);
            (special || *kind == TokenType::UserDefined).then_some(AddedToken {
                id,
                content,
                single_word: false,
                lstrip: false,
                rstrip: false,
                normalized: false,
                special,
            })
        });
        added.collect()
    }

    /// The step that adds tokens before and after a text.
    fn post_processor(&self) -> Value {
        let (first, last) = match self.kind {
            Kind::WordPiece => (self.special.bos, self.special.separator),
            _ => (self.special.bos.filter(|_| self.adds_bos), self.special.eos.filter(|_| self.adds_eos)),
        };
        let special = |id: Option<u32>, part: u8| {
            let token = self.token(id)?;
            Some(json!({ "SpecialToken": { "id": token, "type_id": part } }))
        };
        let (before, after) = (|part| special(first, part), |part| special(last, part));
        if before(0).is_none() && after(0).is_none() {
            return Value::Null;
        }
        let text = |name: &str, part: u8| json!({ "Sequence": { "id": name, "type_id": part } });
        let single: Vec<Value> = before(0).into_iter().chain([text("A", 0)]).chain(after(0)).collect();
        // The second text of a pair has no token before it in WordPiece, and the same ones elsewhere.
        let second = before(1).filter(|_| self.kind != Kind::WordPiece);
        let pair: Vec<Value> = single.iter().cloned().chain(second).chain([text("B", 1)]).chain(after(1)).collect();
        let tokens: Map<String, Value> = [first, last]
            .into_iter()
            .filter_map(|id| Some((self.token(id)?.to_owned(), id?)))
            .map(|(token, id)| (token.clone(), json!({ "id": token, "ids": [id], "tokens": [token] })))
            .collect();
        json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens })
    }
}

/// A token of `WordPiece`: in GGUF the tokens that begin a word are marked, and here those that do not.
fn word(token: &str, kind: TokenType) -> Cow<'_, str> {
    match token.strip_prefix(SPACE) {
        _ if matches!(kind, TokenType::Control | TokenType::Unknown) => Cow::Borrowed(token),
        Some(word) => Cow::Borrowed(word),
        None => Cow::Owned(format!("{GOES_ON}{token}")),
    }
}
