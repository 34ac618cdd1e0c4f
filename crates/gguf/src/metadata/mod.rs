mod build;

use std::{fmt, iter::FusedIterator, ops::Range};

pub use build::{Element, MetadataError};

use crate::{Array, Value, ValueType, array};

/// The metadata of a file: pairs of a key and a [`Value`], in order, each key once.
///
/// It holds the pairs as the bytes that the file has, and where each begins. Values are decoded when they are asked for.
///
/// ```
/// use longshore_gguf::Metadata;
///
/// let mut metadata = Metadata::new();
/// metadata.push("general.architecture", "llama")?;
/// metadata.push("llama.block_count", 2_u32)?;
/// metadata.push_array("tokenizer.ggml.tokens", ["<s>", "</s>", "a"])?;
///
/// assert_eq!(metadata.get("llama.block_count").and_then(|value| value.as_u64()), Some(2));
/// let tokens = metadata.get("tokenizer.ggml.tokens").and_then(|value| value.as_array()).expect("it was pushed");
/// assert_eq!(tokens.iter().filter_map(|token| token.as_str()).collect::<Vec<_>>(), ["<s>", "</s>", "a"]);
/// # Ok::<(), longshore_gguf::MetadataError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The pairs as the file has them, one after the other.
    bytes: Vec<u8>,
    /// In the file's order.
    pairs: Vec<Pair>,
    /// Indices into `pairs`, in byte order of the keys.
    by_key: Vec<u32>,
}

/// Where a pair lies in the bytes of a [`Metadata`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The key, without its length.
    pub(crate) key: Range<usize>,
    pub(crate) value_type: ValueType,
    /// The value, without its type. It ends where the next pair begins.
    pub(crate) value: Range<usize>,
}

impl Metadata {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The pairs in order.
    #[must_use]
    pub fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = (&str, Value<'_>)> + DoubleEndedIterator + FusedIterator + Clone {
        self.pairs.iter().map(|pair| (self.key(pair), self.value(pair)))
    }

    /// The value of `key`, in O(log n).
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        self.find(key).map(|pair| self.value(pair))
    }

    /// Leaves out the pairs whose key is not to be kept. The others keep their order.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        let all = std::mem::take(self);
        let key_len = size_of::<u64>();
        for pair in &all.pairs {
            if keep(all.key(pair)) {
                // A pair begins with the length of its key.
                let (from, to) = (pair.key.start - key_len, self.bytes.len());
                let moved = |range: &Range<usize>| range.start - from + to..range.end - from + to;
                let (key, value) = (moved(&pair.key), moved(&pair.value));
                self.pairs.push(Pair { key, value_type: pair.value_type, value });
                self.bytes.extend_from_slice(&all.bytes[from..pair.value.end]);
            }
        }
        let (bytes, pairs) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.pairs));
        *self = Self::assemble(bytes, pairs).expect("keys of which some were left out are unique as before");
    }

    /// The pairs as a file has them, one after the other, without their number.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Metadata of these bytes, in which the pairs lie so. `Err` is a key that occurs twice.
    pub(crate) fn assemble(bytes: Vec<u8>, pairs: Vec<Pair>) -> Result<Self, Box<str>> {
        // A pair has 13 bytes, so that 2^32 of them could not have been parsed.
        let by_key = (0..=u32::MAX).take(pairs.len()).collect();
        let mut metadata = Self { bytes, pairs, by_key };
        let mut by_key = std::mem::take(&mut metadata.by_key);
        by_key.sort_unstable_by(|&a, &b| metadata.nth_key(a).cmp(metadata.nth_key(b)));
        if let Some(pair) = by_key.windows(2).find(|pair| metadata.nth_key(pair[0]) == metadata.nth_key(pair[1])) {
            return Err(metadata.nth_key(pair[0]).into());
        }
        metadata.by_key = by_key;
        Ok(metadata)
    }

    /// The bytes of the value of `key`, with their type: what is equal in them is equal in the file.
    pub(crate) fn raw(&self, key: &str) -> Option<(ValueType, &[u8])> {
        self.find(key).map(|pair| (pair.value_type, &self.bytes[pair.value.clone()]))
    }

    fn find(&self, key: &str) -> Option<&Pair> {
        Some(&self.pairs[self.by_key[self.position(key).ok()?] as usize])
    }

    /// Where `key` is, or would be, in `by_key`.
    fn position(&self, key: &str) -> Result<usize, usize> {
        self.by_key.binary_search_by(|&index| self.nth_key(index).cmp(key))
    }

    fn nth_key(&self, index: u32) -> &str {
        self.key(&self.pairs[index as usize])
    }

    fn key(&self, pair: &Pair) -> &str {
        std::str::from_utf8(&self.bytes[pair.key.clone()]).expect("it was checked when the pair was made")
    }

    fn value(&self, pair: &Pair) -> Value<'_> {
        let mut bytes = &self.bytes[pair.value.clone()];
        let value = match pair.value_type {
            ValueType::Array => array_of(bytes),
            other => array::take(other, &mut bytes),
        };
        value.expect("it was checked when the pair was made")
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

fn array_of(bytes: &[u8]) -> Option<Value<'_>> {
    let (element_type, rest) = bytes.split_first_chunk()?;
    let (len, elements) = rest.split_first_chunk()?;
    let element_type = ValueType::from_id(u32::from_le_bytes(*element_type))?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
    Some(Value::Array(Array::new(element_type, len, elements)))
}
