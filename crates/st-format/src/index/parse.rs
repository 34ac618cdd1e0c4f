use std::fmt;

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};

use super::{IndexError, ShardIndex, total_size::TotalSize};
use crate::Limits;

impl ShardIndex {
    /// Parses an index document. White space around the JSON is ignored. Top-level keys other than `weight_map` and
    /// `metadata` are ignored, and so is everything in `metadata` except `total_size`.
    ///
    /// An empty `weight_map` is not an error: see [`Self::is_empty`].
    ///
    /// # Errors
    ///
    /// [`IndexError`] names the tensor; [`IndexError::MissingWeightMap`] where the document has no `weight_map`.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, IndexError> {
        let found = bytes.len() as u64;
        if found > limits.header_bytes {
            return Err(IndexError::TooLong { found, limit: limits.header_bytes });
        }
        let mut state = State { limits, tensor: None, refused: None };
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let document = json.deserialize_map(Top { state: &mut state });
        match document.and_then(|document| json.end().map(|()| document)) {
            Ok((total_size, Some(entries))) => Self::assemble(total_size, entries),
            Ok((_, None)) => Err(IndexError::MissingWeightMap),
            Err(source) => Err(state.refused.unwrap_or(IndexError::Json { tensor: state.tensor, source })),
        }
    }
}

type Entries = Vec<(Box<str>, Box<str>)>;

/// State that the visitors share. Serde's errors are strings, so a typed error is kept in `refused` and the string is
/// dropped.
struct State<'l> {
    limits: &'l Limits,
    /// Name of the entry that is being read.
    tensor: Option<Box<str>>,
    refused: Option<IndexError>,
}

impl State<'_> {
    fn refuse<E: de::Error>(&mut self, error: IndexError) -> E {
        self.refused = Some(error);
        E::custom("refused")
    }
}

struct Top<'s, 'l> {
    state: &'s mut State<'l>,
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = (Option<u64>, Option<Entries>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a `weight_map`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut total_size, mut weight_map) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            let twice = match &*key {
                "metadata" => {
                    total_size.replace(map.next_value_seed(TotalSize::Above)?).is_some().then_some("metadata")
                }
                "weight_map" => weight_map
                    .replace(map.next_value_seed(WeightMap { state: self.state })?)
                    .is_some()
                    .then_some("weight_map"),
                _ => map.next_value::<IgnoredAny>().map(|_| None)?,
            };
            if let Some(key) = twice {
                return Err(self.state.refuse(IndexError::DuplicateKey { key }));
            }
        }
        Ok((total_size.flatten(), weight_map))
    }
}

struct WeightMap<'s, 'l> {
    state: &'s mut State<'l>,
}

impl<'de> DeserializeSeed<'de> for WeightMap<'_, '_> {
    type Value = Entries;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Entries, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap<'_, '_> {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`weight_map` as an object of file names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let Self { state } = self;
        let limits = state.limits;
        let mut entries = Entries::new();
        while let Some(tensor) = map.next_key::<String>()? {
            if tensor.len() > limits.name_bytes {
                let (start, found) = (tensor.chars().take(32).collect(), tensor.len());
                return Err(state.refuse(IndexError::NameTooLong { start, found, limit: limits.name_bytes }));
            }
            if entries.len() >= limits.tensors {
                return Err(state.refuse(IndexError::TooManyTensors { limit: limits.tensors }));
            }
            state.tensor = Some(tensor.into_boxed_str());
            let shard = map.next_value::<String>()?.into_boxed_str();
            let tensor = state.tensor.take().expect("the tensor's name was set before its shard was read");
            entries.push((tensor, shard));
        }
        Ok(entries)
    }
}
