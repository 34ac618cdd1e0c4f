//! A tokenizer as GGUF metadata states it.

use std::collections::HashSet;

use longshore_gguf::{Array, Metadata, MetadataError, Value};

use super::splits::Split;

/// Algorithm by which a tokenizer makes tokens of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Byte-level BPE: the text is split, and the bytes of each piece are merged.
    ByteLevel,
    /// BPE of `SentencePiece`: the characters of the whole text are merged, and a character without a token becomes bytes.
    SentencePiece,
    /// Unigram of `SentencePiece`: the most probable way to cut the text into tokens.
    Unigram,
    /// `WordPiece`: the longest tokens from the left of each word.
    WordPiece,
}

impl Kind {
    const ALL: [Self; 4] = [Self::ByteLevel, Self::SentencePiece, Self::Unigram, Self::WordPiece];

    /// The name in `tokenizer.ggml.model`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ByteLevel => "gpt2",
            Self::SentencePiece => "llama",
            Self::Unigram => "t5",
            Self::WordPiece => "bert",
        }
    }
}

/// The kind of a token, by its number in `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenType {
    Normal = 1,
    Unknown = 2,
    /// A token with a meaning, which no text has.
    Control = 3,
    /// A token that is found in a text before anything else.
    UserDefined = 4,
    Unused = 5,
    /// One byte, as `<0x0A>`.
    Byte = 6,
}

impl TokenType {
    fn of(number: i64) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }
}

/// Tokens with a meaning of their own, by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Special {
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    /// End of a turn.
    pub(crate) eot: Option<u32>,
    /// End of a message.
    pub(crate) eom: Option<u32>,
    pub(crate) unknown: Option<u32>,
    pub(crate) separator: Option<u32>,
    pub(crate) padding: Option<u32>,
    pub(crate) mask: Option<u32>,
}

/// The keys of [`Special`], in the order of its fields. `seperator` is how the key is spelt.
const SPECIAL: [&str; 8] = ["bos", "eos", "eot", "eom", "unknown", "seperator", "padding", "mask"];

impl Special {
    fn slots(&mut self) -> [&mut Option<u32>; 8] {
        let Self { bos, eos, eot, eom, unknown, separator, padding, mask } = self;
        [bos, eos, eot, eom, unknown, separator, padding, mask]
    }
}

/// A tokenizer.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub(crate) struct Vocabulary {
    pub(crate) kind: Kind,
    /// The split, for [`Kind::ByteLevel`].
    pub(crate) split: Option<&'static Split>,
    pub(crate) tokens: Vec<String>,
    /// One for each token, for the kinds of `SentencePiece`. Otherwise empty.
    pub(crate) scores: Vec<f32>,
    /// One for each token.
    pub(crate) types: Vec<TokenType>,
    /// Both halves of each merge with a space between, the first first, for [`Kind::ByteLevel`]. Otherwise empty.
    pub(crate) merges: Vec<String>,
    pub(crate) special: Special,
    /// Whether a text begins with the token before texts and ends with the one after them.
    pub(crate) adds_bos: bool,
    pub(crate) adds_eos: bool,
    /// Whether a space is put before a text.
    pub(crate) adds_space: bool,
    /// Whether several spaces count as one.
    pub(crate) merges_spaces: bool,
    /// `SentencePiece`'s compiled replacements of characters.
    pub(crate) charsmap: Vec<u8>,
    pub(crate) lowercases: bool,
    pub(crate) strips_accents: bool,
}

impl Vocabulary {
    /// An empty tokenizer with the flags that llama.cpp takes where no key states them.
    pub(crate) fn new(kind: Kind, split: Option<&'static Split>) -> Self {
        Self {
            kind,
            split,
            tokens: Vec::new(),
            scores: Vec::new(),
            types: Vec::new(),
            merges: Vec::new(),
            special: Special::default(),
            adds_bos: match kind {
                Kind::ByteLevel => split.is_some_and(|split| split.adds_bos),
                Kind::SentencePiece | Kind::WordPiece => true,
                Kind::Unigram => false,
            },
            adds_eos: kind == Kind::Unigram,
            adds_space: kind == Kind::SentencePiece,
            merges_spaces: false,
            charsmap: Vec::new(),
            lowercases: true,
            strips_accents: true,
        }
    }

    /// Reads the tokenizer of a file. `None` if the file has none.
    ///
    /// # Errors
    ///
    /// Reason why the tokenizer is not rebuilt, as a sentence that goes on after `tokenizer.json is not rebuilt:`.
    pub(crate) fn read(metadata: &Metadata) -> Result<Option<Self>, String> {
        let Some(model) = text(metadata, "model").filter(|model| !matches!(*model, "none" | "no_vocab")) else {
            return Ok(None);
        };
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == model);
        let kind = kind.ok_or_else(|| format!("the tokenizer model {model:?} is not known"))?;
        let split = if kind == Kind::ByteLevel {
            let name = text(metadata, "pre").unwrap_or("default");
            Some(Split::named(name).ok_or_else(|| format!("the split {name:?} of tokenizer.ggml.pre is not known"))?)
        } else {
            None
        };
        let mut read = Self::new(kind, split);
        read.tokens = tokens(metadata)?;
        read.types = types(metadata, read.tokens.len())?;
        if matches!(kind, Kind::SentencePiece | Kind::Unigram) {
            read.scores = scores(metadata, read.tokens.len())?;
        }
        if kind == Kind::ByteLevel {
            read.merges = strings(metadata, "merges")?.ok_or("it has no merges")?;
        }
        let set = |slot: &mut bool, key: &str| *slot = flag(metadata, key).unwrap_or(*slot);
        set(&mut read.adds_bos, "add_bos_token");
        set(&mut read.adds_eos, "add_eos_token");
        set(&mut read.adds_space, "add_space_prefix");
        set(&mut read.merges_spaces, "remove_extra_whitespaces");
        set(&mut read.lowercases, "normalizer.lowercase");
        read.strips_accents = read.lowercases;
        set(&mut read.strips_accents, "normalizer.strip_accents");
        read.charsmap = bytes(metadata, "precompiled_charsmap");
        read.special = special(metadata, kind, read.tokens.len());
        Ok(Some(read))
    }

    /// The token with a number, if there is one.
    pub(crate) fn token(&self, id: Option<u32>) -> Option<&str> {
        self.tokens.get(usize::try_from(id?).ok()?).map(String::as_str)
    }

    /// Adds the keys of the tokenizer to the metadata of a new file, with the types that llama.cpp reads.
    pub(crate) fn write(&self, metadata: &mut Metadata) -> Result<(), MetadataError> {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        metadata.push(&key("model"), self.kind.name())?;
        metadata.push(&key("pre"), self.split.map_or("default", |split| split.names[0]))?;
        metadata.push_array(&key("tokens"), self.tokens.iter().map(String::as_str))?;
        if !self.scores.is_empty() {
            metadata.push_array(&key("scores"), self.scores.iter().copied())?;
        }
        metadata.push_array(&key("token_type"), self.types.iter().map(|kind| *kind as i32))?;
        if self.kind == Kind::ByteLevel {
            metadata.push_array(&key("merges"), self.merges.iter().map(String::as_str))?;
        }
        for (name, id) in SPECIAL.iter().zip(self.special.clone().slots()) {
            if let Some(id) = *id {
                metadata.push(&key(&format!("{name}_token_id")), id)?;
            }
        }
        metadata.push(&key("add_bos_token"), self.adds_bos)?;
        metadata.push(&key("add_eos_token"), self.adds_eos)?;
        metadata.push(&key("add_space_prefix"), self.adds_space)?;
        if self.kind == Kind::Unigram {
            metadata.push(&key("remove_extra_whitespaces"), self.merges_spaces)?;
            if !self.charsmap.is_empty() {
                metadata.push_array(&key("precompiled_charsmap"), self.charsmap.iter().copied())?;
            }
        }
        if self.kind == Kind::WordPiece {
            metadata.push(&key("normalizer.lowercase"), self.lowercases)?;
            metadata.push(&key("normalizer.strip_accents"), self.strips_accents)?;
        }
        Ok(())
    }
}

fn get<'m>(metadata: &'m Metadata, key: &str) -> Option<Value<'m>> {
    metadata.get(&format!("tokenizer.ggml.{key}"))
}

fn text<'m>(metadata: &'m Metadata, key: &str) -> Option<&'m str> {
    get(metadata, key)?.as_str()
}

fn flag(metadata: &Metadata, key: &str) -> Option<bool> {
    get(metadata, key)?.as_bool()
}

fn array<'m>(metadata: &'m Metadata, key: &str) -> Option<Array<'m>> {
    get(metadata, key)?.as_array()
}

fn strings(metadata: &Metadata, key: &str) -> Result<Option<Vec<String>>, String> {
    let Some(array) = array(metadata, key) else { return Ok(None) };
    let string = |(at, value): (usize, Value<'_>)| {
        let text = value.as_str().map(str::to_owned);
        text.ok_or_else(|| format!("entry {at} of tokenizer.ggml.{key} is no UTF-8 text"))
    };
    array.iter().enumerate().map(string).collect::<Result<_, _>>().map(Some)
}

/// The tokens, each of which is there once. An empty one gets the name that llama.cpp gives it.
fn tokens(metadata: &Metadata) -> Result<Vec<String>, String> {
    let mut tokens = strings(metadata, "tokens")?.ok_or("it has no tokens")?;
    if u32::try_from(tokens.len()).is_err() {
        return Err("it has more than 2^32 tokens".to_owned());
    }
    for (at, token) in tokens.iter_mut().enumerate().filter(|(_, token)| token.is_empty()) {
        *token = format!("[EMPTY_{at}]");
    }
    let mut seen = HashSet::with_capacity(tokens.len());
    match tokens.iter().position(|token| !seen.insert(token.as_str())) {
        Some(at) => Err(format!("token {at}, {:?}, is another token too", tokens[at])),
        None => Ok(tokens),
    }
}

fn types(metadata: &Metadata, count: usize) -> Result<Vec<TokenType>, String> {
    let Some(found) = array(metadata, "token_type") else { return Ok(vec![TokenType::Normal; count]) };
    if found.len() < count {
        return Err(format!("it has {count} tokens and types for {} of them", found.len()));
    }
    Ok(found.iter().take(count).map(|value| TokenType::of(value.as_i64().unwrap_or_default())).collect())
}

fn scores(metadata: &Metadata, count: usize) -> Result<Vec<f32>, String> {
    let found = array(metadata, "scores").ok_or("it has no scores")?;
    if found.len() < count {
        return Err(format!("it has {count} tokens and scores for {} of them", found.len()));
    }
    let score = |(at, value): (usize, Value<'_>)| {
        let score = match value {
            Value::F32(score) => score,
            #[expect(clippy::cast_precision_loss, reason = "llama.cpp reads integers so")]
            other => other.as_i64().map_or(f32::NAN, |score| score as f32),
        };
        if score.is_finite() { Ok(score) } else { Err(format!("the score of token {at} is no finite number")) }
    };
    found.iter().take(count).enumerate().map(score).collect()
}

fn bytes(metadata: &Metadata, key: &str) -> Vec<u8> {
    let Some(found) = array(metadata, key) else { return Vec::new() };
    let byte = |value| match value {
        Value::U8(byte) => Some(byte),
        Value::I8(byte) => Some(byte.cast_unsigned()),
        _ => None,
    };
    found.iter().map_while(byte).collect()
}

/// The tokens that the keys state, and those that llama.cpp takes where no key does. A number that is no token counts as
/// none.
fn special(metadata: &Metadata, kind: Kind, count: usize) -> Special {
    let mut special = match kind {
        Kind::SentencePiece => Special { bos: Some(1), eos: Some(2), unknown: Some(0), ..Special::default() },
        // llama.cpp takes token 11 for both, which in most vocabularies is a comma.
        Kind::ByteLevel => Special::default(),
        Kind::Unigram => Special { eos: Some(1), unknown: Some(2), padding: Some(0), ..Special::default() },
        Kind::WordPiece => Special {
            bos: Some(101),
            unknown: Some(100),
            separator: Some(102),
            padding: Some(0),
            mask: Some(103),
            ..Special::default()
        },
    };
    let is_token = |id: &u64| usize::try_from(*id).is_ok_and(|id| id < count);
    for (name, slot) in SPECIAL.iter().zip(special.slots()) {
        let stated = get(metadata, &format!("{name}_token_id")).and_then(Value::as_u64).filter(is_token);
        let id = stated.or(slot.map(u64::from)).filter(is_token);
        *slot = id.and_then(|id| u32::try_from(id).ok());
    }
    // The older name of the first token of a text that is classified.
    if kind == Kind::WordPiece && get(metadata, "bos_token_id").is_none() {
        let cls = get(metadata, "cls_token_id").and_then(Value::as_u64).filter(is_token);
        special.bos = cls.and_then(|id| u32::try_from(id).ok()).or(special.bos);
    }
    special
}
