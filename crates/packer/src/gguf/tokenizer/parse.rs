//! `tokenizer.json`, turned into what GGUF metadata states.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{
    base64, names, pre_tokenizer,
    splits::Split,
    vocabulary::{Kind, Special, TokenType, Vocabulary},
};

/// The documents that describe a tokenizer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Documents<'d> {
    /// `tokenizer.json`.
    pub(crate) tokenizer: &'d Value,
    /// `tokenizer_config.json`.
    pub(crate) config: &'d Map<String, Value>,
    /// Tokens that begin and fill, as `generation_config.json` or `config.json` state them.
    pub(crate) bos: Option<u64>,
    pub(crate) eos: Option<u64>,
    pub(crate) padding: Option<u64>,
    /// Number of rows of the embedding. Rows beyond the tokens get names.
    pub(crate) rows: Option<u64>,
}

/// Score of tokens that no merge makes, as llama.cpp's converter gives it.
const ADDED: f32 = -1000.0;
/// Most tokens that a vocabulary is filled up to.
const MAX_TOKENS: usize = 1 << 24;

impl Vocabulary {
    /// Reads a tokenizer.
    ///
    /// # Errors
    ///
    /// Reason why GGUF has no place for it, as a sentence that goes on after `the tokenizer has no form in GGUF:`.
    pub(crate) fn from_json(documents: &Documents<'_>) -> Result<Self, String> {
        let document = documents.tokenizer;
        let model = document.get("model").ok_or("tokenizer.json has no model")?;
        let kind = kind(document, model)?;
        let ignores_merges = flag(model, "ignore_merges");
        let mut adds_space = false;
        let split = if kind == Kind::ByteLevel {
            let none = Value::Null;
            let (steps, space) = pre_tokenizer::steps(document.get("pre_tokenizer").unwrap_or(&none))?;
            adds_space = space;
            let found = Split::with_steps(&steps, ignores_merges);
            Some(found.ok_or_else(|| format!("no name is known for the split {steps:?}{}", merging(ignores_merges)))?)
        } else {
            None
        };
        let mut read = Self::new(kind, split);
        read.adds_space = adds_space;
        let mut tokens = Tokens::read(document, model, kind)?;
        tokens.fill(documents.rows)?;
        (read.tokens, read.types) = (tokens.names, tokens.types);
        match kind {
            Kind::ByteLevel => read.merges = merges(model)?.into_iter().map(joined).collect::<Result<_, _>>()?,
            Kind::SentencePiece => read.scores = scores_of_merges(&read, &merges(model)?),
            Kind::Unigram => read.scores = tokens.scores,
            Kind::WordPiece => mark_words(&mut read),
        }
        read.normalizer(document)?;
        read.special = special(documents, &read, model);
        read.ends(document, documents.config);
        Ok(read)
    }

    /// Changes that the normalizer, and the pre-tokenizer of `SentencePiece`, make to a text.
    fn normalizer(&mut self, document: &Value) -> Result<(), String> {
        let mut steps = Vec::new();
        flatten(document.get("normalizer"), "normalizers", &mut steps);
        if self.kind != Kind::ByteLevel {
            flatten(document.get("pre_tokenizer"), "pretokenizers", &mut steps);
        }
        if self.kind == Kind::SentencePiece {
            self.adds_space = false;
        }
        for step in steps {
            let text = |name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default();
            match (self.kind, text("type")) {
                // llama.cpp does not compose characters, and its converter leaves the step out too. It cuts words of WordPiece
                // as the other step does.
                (Kind::ByteLevel, "NFC") | (Kind::WordPiece, "BertPreTokenizer") => {}
                (Kind::SentencePiece, "Prepend") if text("prepend") == names::SPACE => self.adds_space = true,
                (Kind::SentencePiece, "Replace") if text("content") == names::SPACE => {}
                // Cuts nothing after spaces have been replaced.
                (Kind::SentencePiece, "Split")
                    if step.pointer("/pattern/String").and_then(Value::as_str) == Some(" ") => {}
                (Kind::SentencePiece | Kind::Unigram, "Metaspace") => {
                    let scheme = step.get("prepend_scheme").and_then(Value::as_str);
                    let adds = step.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(true);
                    self.adds_space = scheme.map_or(adds, |scheme| scheme != "never");
                }
                (Kind::Unigram, "Precompiled") => {
                    let map = base64::decode(text("precompiled_charsmap"));
                    self.charsmap = map.ok_or("its charsmap is no base64")?;
                }
                (Kind::Unigram, "Replace" | "Strip" | "WhitespaceSplit") => self.merges_spaces = true,
                (Kind::WordPiece, "BertNormalizer") => {
                    self.lowercases = step.get("lowercase").and_then(Value::as_bool).unwrap_or(true);
                    let strips = step.get("strip_accents").and_then(Value::as_bool);
                    self.strips_accents = strips.unwrap_or(self.lowercases);
                }
                (_, other) => return Err(format!("its normalizer has the step {other:?}")),
            }
        }
        Ok(())
    }

    /// Whether tokens are put before and after a text.
    fn ends(&mut self, document: &Value, config: &Map<String, Value>) {
        if self.kind == Kind::WordPiece {
            return;
        }
        let mut steps = Vec::new();
        flatten(document.get("post_processor"), "processors", &mut steps);
        let template = steps.iter().find_map(|step| step.get("single")?.as_array());
        let stated = |name: &str| config.get(name).and_then(Value::as_bool);
        let is_special = |step: Option<&Value>| step.is_some_and(|step| step.get("SpecialToken").is_some());
        (self.adds_bos, self.adds_eos) = match template {
            Some(single) => (is_special(single.first()), is_special(single.last())),
            None => (stated("add_bos_token") == Some(true), stated("add_eos_token") == Some(true)),
        };
        self.adds_bos &= self.special.bos.is_some();
        self.adds_eos &= self.special.eos.is_some();
    }
}

fn merging(ignores_merges: bool) -> &'static str {
    if ignores_merges { " of a tokenizer that looks whole pieces up first" } else { "" }
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool) == Some(true)
}

fn kind(document: &Value, model: &Value) -> Result<Kind, String> {
    let text = |value: &Value, name: &str| value.get(name).map(Value::to_string).unwrap_or_default();
    let has_bytes = text(document, "pre_tokenizer").contains("\"ByteLevel\"");
    let has_space = ["normalizer", "pre_tokenizer"].iter().any(|part| text(document, part).contains(names::SPACE));
    // Older files do not name the model.
    let name = model.get("type").and_then(Value::as_str).unwrap_or("BPE");
    match name {
        "BPE" if has_bytes => Ok(Kind::ByteLevel),
        "BPE" if has_space => Ok(Kind::SentencePiece),
        "BPE" => Err("its BPE works neither on bytes nor as SentencePiece does".to_owned()),
        "Unigram" => Ok(Kind::Unigram),
        "WordPiece" => Ok(Kind::WordPiece),
        other => Err(format!("its model is {other:?}")),
    }
}

/// The tokens of a file, by their numbers.
struct Tokens {
    names: Vec<String>,
    types: Vec<TokenType>,
    /// For Unigram.
    scores: Vec<f32>,
}

impl Tokens {
    fn read(document: &Value, model: &Value, kind: Kind) -> Result<Self, String> {
        let mut found: HashMap<usize, (String, TokenType, f32)> = HashMap::new();
        let id = |id: Option<u64>| id.and_then(|id| usize::try_from(id).ok()).filter(|id| *id < MAX_TOKENS);
        match model.get("vocab") {
            Some(Value::Object(vocab)) => {
                for (token, number) in vocab {
                    let id = id(number.as_u64()).ok_or_else(|| format!("token {token:?} has the number {number}"))?;
                    let is_byte = kind == Kind::SentencePiece && names::is_byte(token);
                    let of_type = if is_byte { TokenType::Byte } else { TokenType::Normal };
                    if found.insert(id, (token.clone(), of_type, 0.0)).is_some() {
                        return Err(format!("two tokens have the number {id}"));
                    }
                }
            }
            Some(Value::Array(pieces)) if kind == Kind::Unigram => {
                let unknown = id(model.get("unk_id").and_then(Value::as_u64));
                for (id, piece) in pieces.iter().enumerate() {
                    let (token, score) = (piece.get(0).and_then(Value::as_str), piece.get(1).and_then(Value::as_f64));
                    let (token, score) = token.zip(score).ok_or_else(|| format!("piece {id} is no token and score"))?;
                    let of_type = if Some(id) == unknown {
                        TokenType::Unknown
                    } else if names::is_byte(token) {
                        TokenType::Byte
                    } else {
                        TokenType::Normal
                    };
                    #[expect(clippy::cast_possible_truncation, reason = "scores are floats of 32 bits in GGUF")]
                    found.insert(id, (token.to_owned(), of_type, score as f32));
                }
            }
            _ => return Err("its model has no vocabulary".to_owned()),
        }
        for token in document.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
            let content = token.get("content").and_then(Value::as_str).unwrap_or_default();
            let id = id(token.get("id").and_then(Value::as_u64));
            let id = id.ok_or_else(|| format!("the added token {content:?} has no number"))?;
            let of_type = if flag(token, "special") { TokenType::Control } else { TokenType::UserDefined };
            let slot = found.entry(id).or_insert_with(|| (content.to_owned(), of_type, ADDED));
            // A piece of no text keeps its kind in Unigram, where llama.cpp goes by it.
            if slot.1 != TokenType::Unknown {
                *slot = (content.to_owned(), of_type, slot.2);
            }
        }
        let count = found.keys().max().map_or(0, |last| last + 1);
        let mut tokens = Self { names: Vec::new(), types: Vec::new(), scores: Vec::new() };
        for id in 0..count {
            match found.remove(&id) {
                Some((name, of_type, score)) => tokens.push(name, of_type, score),
                None => tokens.push_unused(),
            }
        }
        Ok(tokens)
    }

    /// Adds unused tokens until there is one for each row of the embedding.
    fn fill(&mut self, rows: Option<u64>) -> Result<(), String> {
        let Some(rows) = rows.and_then(|rows| usize::try_from(rows).ok()) else { return Ok(()) };
        if rows > MAX_TOKENS || rows < self.names.len() {
            return Err(format!("it has {} tokens and the embedding {rows} rows", self.names.len()));
        }
        while self.names.len() < rows {
            self.push_unused();
        }
        Ok(())
    }

    fn push_unused(&mut self) {
        self.push(format!("[PAD{}]", self.names.len()), TokenType::Unused, ADDED);
    }

    fn push(&mut self, name: String, of_type: TokenType, score: f32) {
        self.names.push(name);
        self.types.push(of_type);
        self.scores.push(score);
    }
}

/// Both halves of each merge.
fn merges(model: &Value) -> Result<Vec<(&str, &str)>, String> {
    let merges = model.get("merges").and_then(Value::as_array).ok_or("its model has no merges")?;
    let halves = |merge: &'_ Value| -> Option<(usize, usize)> {
        let text = merge.as_str()?;
        let at = text.char_indices().skip(1).find(|(_, letter)| *letter == ' ')?.0;
        Some((at, at + 1))
    };
    let pair = |(at, merge)| {
        let pair: &Value = merge;
        let found = match pair {
            Value::String(text) => halves(pair).map(|(end, start)| (&text[..end], &text[start..])),
            _ => pair.get(0).and_then(Value::as_str).zip(pair.get(1).and_then(Value::as_str)),
        };
        found.ok_or_else(|| format!("merge {at} is no pair"))
    };
    merges.iter().enumerate().map(pair).collect()
}

/// A merge as GGUF has it, which is cut at the first space after its first character.
fn joined((left, right): (&str, &str)) -> Result<String, String> {
    if left.chars().skip(1).any(|letter| letter == ' ') || left.is_empty() {
        return Err(format!("a merge of {left:?} has a space, which divides both halves in GGUF"));
    }
    Ok(format!("{left} {right}"))
}

/// Scores that order tokens as their merges are ordered: that of a token counts the tokens that are made before it. Tokens
/// that nothing makes, such as single characters, come after them in the order of their numbers.
fn scores_of_merges(vocabulary: &Vocabulary, merges: &[(&str, &str)]) -> Vec<f32> {
    let ids: HashMap<&str, usize> = vocabulary.tokens.iter().enumerate().map(|(id, token)| (&**token, id)).collect();
    let mut scores = vec![None; vocabulary.tokens.len()];
    let mut next = 0.0_f32;
    let mut made = String::new();
    let is_normal = |id: usize| matches!(vocabulary.types[id], TokenType::Normal | TokenType::Unused);
    let mut give = |scores: &mut Vec<Option<f32>>, id: usize| {
        if scores[id].is_none() {
            scores[id] = Some(0.0 - next);
            next += 1.0;
        }
    };
    for (left, right) in merges {
        made.clear();
        made.push_str(left);
        made.push_str(right);
        if let Some(id) = ids.get(made.as_str()).filter(|id| is_normal(**id)) {
            give(&mut scores, *id);
        }
    }
    for id in 0..scores.len() {
        match vocabulary.types[id] {
            TokenType::Normal => give(&mut scores, id),
            TokenType::Byte => scores[id] = Some(0.0),
            _ => scores[id] = scores[id].or(Some(ADDED)),
        }
    }
    scores.into_iter().map(|score| score.unwrap_or(ADDED)).collect()
}

/// Marks the tokens that begin a word, and takes the mark from those that go on with one.
fn mark_words(vocabulary: &mut Vocabulary) {
    for (token, of_type) in vocabulary.tokens.iter_mut().zip(&vocabulary.types) {
        if *of_type == TokenType::Normal {
            *token = match token.strip_prefix(names::GOES_ON) {
                Some(rest) => rest.to_owned(),
                None => format!("{}{token}", names::SPACE),
            };
        }
    }
}

/// The steps of a part of the document, a sequence taken apart.
fn flatten<'v>(part: Option<&'v Value>, members: &str, steps: &mut Vec<&'v Value>) {
    let Some(part) = part.filter(|part| part.is_object()) else { return };
    match part.get(members).and_then(Value::as_array) {
        Some(inner) => inner.iter().for_each(|step| flatten(Some(step), members, steps)),
        None => steps.push(part),
    }
}

/// The tokens with a meaning, as `tokenizer_config.json` names them, else by their numbers.
fn special(documents: &Documents<'_>, vocabulary: &Vocabulary, model: &Value) -> Special {
    let ids: HashMap<&str, usize> = vocabulary.tokens.iter().enumerate().map(|(id, token)| (&**token, id)).collect();
    let id = |token: &str| u32::try_from(*ids.get(token)?).ok();
    let named = |member: &str| {
        let token = documents.config.get(member)?;
        id(token.as_str().or_else(|| token.get("content")?.as_str())?)
    };
    let numbered = |id: Option<u64>| {
        let id = u32::try_from(id?).ok()?;
        vocabulary.token(Some(id)).map(|_| id)
    };
    let unknown = || match model.get("unk_id") {
        Some(number) => numbered(number.as_u64()),
        None => id(model.get("unk_token")?.as_str()?),
    };
    let is_wordpiece = vocabulary.kind == Kind::WordPiece;
    Special {
        bos: named(if is_wordpiece { "cls_token" } else { "bos_token" }).or(numbered(documents.bos)),
        eos: named("eos_token").or(numbered(documents.eos)),
        eot: None,
        eom: None,
        unknown: named("unk_token").or_else(unknown),
        separator: named("sep_token"),
        padding: named("pad_token").or(numbered(documents.padding)),
        mask: named("mask_token"),
    }
}

#[cfg(test)]
mod tests {
    use longshore_gguf::{Gguf, Metadata};

    use super::*;

    fn metadata(model: &str, pre: Option<&str>, tokens: &[&str], types: &[i32]) -> Metadata {
        let mut made = Metadata::new();
        let mut fill = || {
            made.push("tokenizer.ggml.model", model)?;
            if let Some(pre) = pre {
                made.push("tokenizer.ggml.pre", pre)?;
            }
            made.push_array("tokenizer.ggml.tokens", tokens.iter().copied())?;
            made.push_array("tokenizer.ggml.token_type", types.iter().copied())
        };
        fill().expect("the keys are given once");
        made
    }

    /// The tokenizer, through both files, in GGUF again.
    fn there_and_back(vocabulary: &Vocabulary) -> Vocabulary {
        let tokenizer: Value = serde_json::from_slice(&vocabulary.to_json()).expect("it is JSON");
        let config = vocabulary.tokenizer_config(None);
        let documents =
            Documents { tokenizer: &tokenizer, config: &config, bos: None, eos: None, padding: None, rows: None };
        let back = Vocabulary::from_json(&documents).expect("it was made here");
        let mut written = Metadata::new();
        back.write(&mut written).expect("the keys are given once");
        assert_eq!(Vocabulary::read(&written).expect("it was written here").as_ref(), Some(&back));
        back
    }

    #[test]
    fn byte_level_comes_back() {
        let mut made =
            metadata("gpt2", Some("qwen2"), &["a", "b", "ab", "Ġ", "<s>", "</s>", "<tool>"], &[1, 1, 1, 1, 3, 3, 4]);
        made.push_array("tokenizer.ggml.merges", ["a b"]).expect("it is new");
        for (key, value) in [("bos_token_id", 4_u32), ("eos_token_id", 5)] {
            made.push(&format!("tokenizer.ggml.{key}"), value).expect("it is new");
        }
        made.push("tokenizer.ggml.add_bos_token", true).expect("it is new");
        let read = Vocabulary::read(&made).expect("it is known").expect("it is there");
        assert!(read.adds_bos && !read.adds_eos);
        assert_eq!(there_and_back(&read), read);
    }

    #[test]
    fn sentencepiece_comes_back_with_the_order_of_its_scores() {
        let tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "b", "▁a", "ab", "▁ab", "<x>"];
        let mut made = metadata("llama", None, &tokens, &[3, 3, 3, 6, 1, 1, 1, 1, 1, 1, 4]);
        let scores: [f32; 11] = [-1000.0, -1000.0, -1000.0, 0.0, -3.0, -4.0, -5.0, -1.0, -0.0, -2.0, -1000.0];
        made.push_array("tokenizer.ggml.scores", scores).expect("it is new");
        let read = Vocabulary::read(&made).expect("it is known").expect("it is there");
        assert!(read.adds_bos && read.adds_space && read.special.unknown == Some(0));
        assert_eq!(there_and_back(&read), read);
        made.push("tokenizer.ggml.add_space_prefix", false).expect("it is new");
        let read = Vocabulary::read(&made).expect("it is known").expect("it is there");
        assert_eq!(there_and_back(&read), read);
    }

    #[test]
    fn unigram_and_wordpiece_come_back() {
        let mut made = metadata("t5", None, &["<pad>", "</s>", "<unk>", "▁a", "b"], &[3, 3, 2, 1, 1]);
        made.push_array("tokenizer.ggml.scores", [0.0_f32, 0.0, 0.0, -1.5, -2.25]).expect("it is new");
        made.push_array("tokenizer.ggml.precompiled_charsmap", [4_u8, 0, 0, 0, 1]).expect("it is new");
        made.push("tokenizer.ggml.remove_extra_whitespaces", true).expect("it is new");
        made.push("tokenizer.ggml.add_space_prefix", true).expect("it is new");
        let read = Vocabulary::read(&made).expect("it is known").expect("it is there");
        assert_eq!(there_and_back(&read), read);

        let mut made = metadata("bert", None, &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁a", "b"], &[3, 3, 3, 3, 1, 1]);
        for (key, id) in [("unknown", 1_u32), ("bos", 2), ("seperator", 3), ("padding", 0)] {
            made.push(&format!("tokenizer.ggml.{key}_token_id"), id).expect("it is new");
        }
        let read = Vocabulary::read(&made).expect("it is known").expect("it is there");
        assert_eq!(there_and_back(&read), read);
    }

    #[test]
    fn what_has_no_form_is_named() {
        let refused = |document: &str| {
            let tokenizer: Value = serde_json::from_str(document).expect("it is JSON");
            let config = Map::new();
            let documents =
                Documents { tokenizer: &tokenizer, config: &config, bos: None, eos: None, padding: None, rows: None };
            Vocabulary::from_json(&documents).expect_err("it has no form")
        };
        let bytes = r#"{"type":"ByteLevel","use_regex":false}"#;
        let split = |regex: &str| {
            let split = format!(r#"{{"type":"Split","pattern":{{"Regex":"{regex}"}},"behavior":"Isolated"}}"#);
            format!(r#"{{"type":"Sequence","pretokenizers":[{split},{bytes}]}}"#)
        };
        let model = r#"{"type":"BPE","vocab":{"a":0},"merges":[]}"#;
        for (document, expected) in [
            (
                format!(r#"{{"model":{model},"pre_tokenizer":{}}}"#, split("[a-z]+")),
                "no name is known for the split [\"[a-z]+\"]",
            ),
            (
                format!(
                    r#"{{"model":{model},"pre_tokenizer":{{"type":"Sequence","pretokenizers":[{{"type":"Whitespace"}},{bytes}]}}}}"#
                ),
                "\"Whitespace\"",
            ),
            (format!(r#"{{"model":{model}}}"#), "neither on bytes"),
            (r#"{"model":{"type":"WordLevel","vocab":{}}}"#.to_owned(), "\"WordLevel\""),
            ("{}".to_owned(), "no model"),
            (r#"{"model":{"type":"WordPiece","vocab":{"a":4294967296}}}"#.to_owned(), "the number 4294967296"),
            (r#"{"model":{"type":"WordPiece","vocab":{"a":0}},"normalizer":{"type":"NFKC"}}"#.to_owned(), "\"NFKC\""),
        ] {
            let found = refused(&document);
            assert!(found.contains(expected), "{found}");
        }
    }

    /// Writes a file that has a tokenizer alone.
    fn write(path: &std::path::Path, vocabulary: &Vocabulary) {
        let mut metadata = Metadata::new();
        metadata.push("general.architecture", "llama").expect("it is new");
        vocabulary.write(&mut metadata).expect("the keys are given once");
        let no_tensors: [(&str, longshore_gguf::GgmlType, longshore_gguf::Dims); 0] = [];
        let layout = longshore_gguf::Layout::new(metadata, no_tensors).expect("it has no tensors");
        let file = std::fs::File::create(path).expect("the directory is there");
        longshore_gguf::Writer::new(file, layout).and_then(longshore_gguf::Writer::finish).expect("there is room");
    }

    /// The tokenizers of published files, in the directory that the environment names. Where it names another one, the
    /// tokenizers that came back are written there, for llama.cpp.
    #[test]
    fn tokenizers_of_real_files_come_back() {
        let Some(dir) = std::env::var_os("LONGSHORE_TEST_GGUF") else {
            return;
        };
        let mut count = 0;
        for entry in std::fs::read_dir(&dir).expect("it is a directory").filter_map(Result::ok) {
            if entry.path().extension().is_none_or(|extension| extension != "gguf") {
                continue;
            }
            let file: Gguf<_> = longshore_gguf::open(entry.path()).expect("it is a GGUF file");
            let read = Vocabulary::read(file.header().metadata()).expect("it is known").expect("it is there");
            let mut back = there_and_back(&read);
            if let Some(out) = std::env::var_os("LONGSHORE_TEST_GGUF_OUT") {
                write(&std::path::Path::new(&out).join(entry.file_name()), &back);
            }
            if read.kind == Kind::SentencePiece {
                // The scores of other tokens than those that merges make may have been any.
                let of = |scores: &[f32]| super::super::merges::of_scores(&read.tokens, scores);
                assert!(of(&read.scores) == of(&back.scores), "{}", entry.path().display());
                back.scores.clone_from(&read.scores);
            }
            assert!(back == read, "{}", entry.path().display());
            count += 1;
        }
        assert!(count > 0, "{} has no GGUF file", dir.display());
    }
}
