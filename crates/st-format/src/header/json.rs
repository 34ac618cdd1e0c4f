//! Parses the JSON text of a header into entries. The visitors see maps key by key, because a map type would silently
//! keep the last of two equal keys.

use std::{collections::BTreeMap, fmt, ops::Range};

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, MapAccess, Visitor},
};

use super::{HeaderError, METADATA_KEY, entry::Entry};
use crate::{Dtype, Limits, Shape};

/// A header as declared. Its form and the limits are checked; its ranges are not, and names may repeat.
pub(super) struct RawHeader {
    pub(super) entries: Vec<RawEntry>,
    pub(super) metadata: BTreeMap<String, String>,
}

pub(super) struct RawEntry {
    pub(super) name: Box<str>,
    pub(super) dtype: Dtype,
    pub(super) shape: Shape,
    /// Declared range. May be reversed.
    pub(super) offsets: Range<u64>,
}

pub(super) fn collect(text: &str, limits: &Limits) -> Result<RawHeader, HeaderError> {
    match text.chars().next() {
        Some('{') | None => {}
        Some(found) => return Err(HeaderError::NotAnObject { found }),
    }
    let mut entries = Vec::new();
    let mut metadata = None;
    let mut state = State { limits, tensor: None, refused: None };
    let mut json = serde_json::Deserializer::from_str(text);
    let top = Top { state: &mut state, entries: &mut entries, metadata: &mut metadata };
    if let Err(source) = json.deserialize_map(top).and_then(|()| json.end()) {
        let State { tensor, refused, .. } = state;
        return Err(refused.unwrap_or(HeaderError::Json { tensor, source }));
    }
    Ok(RawHeader { entries, metadata: metadata.unwrap_or_default() })
}

/// State that the visitors share. Serde's errors are strings, so a typed error is kept in `refused` and the string is
/// dropped.
pub(super) struct State<'l> {
    pub(super) limits: &'l Limits,
    /// Name of the entry that is being read.
    tensor: Option<Box<str>>,
    refused: Option<HeaderError>,
}

impl State<'_> {
    pub(super) fn refuse<E: de::Error>(&mut self, error: HeaderError) -> E {
        self.refused = Some(error);
        E::custom("refused")
    }

    /// Name of the entry that is being read.
    pub(super) fn tensor(&self) -> Box<str> {
        self.tensor.clone().unwrap_or_default()
    }
}

struct Top<'s, 'l> {
    state: &'s mut State<'l>,
    entries: &'s mut Vec<RawEntry>,
    metadata: &'s mut Option<BTreeMap<String, String>>,
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { state, entries, metadata } = self;
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA_KEY {
                if metadata.is_some() {
                    return Err(state.refuse(HeaderError::DuplicateMetadata));
                }
                *metadata = Some(map.next_value_seed(Metadata { state })?);
                continue;
            }
            if let Err(error) = check_name(&name, state.limits) {
                return Err(state.refuse(error));
            }
            if entries.len() >= state.limits.tensors {
                return Err(state.refuse(HeaderError::TooManyTensors { limit: state.limits.tensors }));
            }
            state.tensor = Some(name.into_boxed_str());
            let (dtype, shape, offsets) = map.next_value_seed(Entry { state })?;
            let name = state.tensor.take().expect("the name was set before the entry was read");
            entries.push(RawEntry { name, dtype, shape, offsets });
        }
        Ok(())
    }
}

fn check_name(name: &str, limits: &Limits) -> Result<(), HeaderError> {
    if name.len() <= limits.name_bytes {
        return Ok(());
    }
    Err(HeaderError::NameTooLong {
        start: name.chars().take(32).collect(),
        found: name.len(),
        limit: limits.name_bytes,
    })
}

struct Metadata<'s, 'l> {
    state: &'s mut State<'l>,
}

impl<'de> DeserializeSeed<'de> for Metadata<'_, '_> {
    type Value = BTreeMap<String, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Metadata<'_, '_> {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`__metadata__` as an object of strings, or null")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let limit = self.state.limits.metadata_bytes;
        let mut left = limit;
        let mut metadata = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            let Some(rest) = left.checked_sub(key.len()).and_then(|left| left.checked_sub(value.len())) else {
                return Err(self.state.refuse(HeaderError::MetadataTooLarge { limit }));
            };
            left = rest;
            if metadata.contains_key(&key) {
                return Err(self.state.refuse(HeaderError::DuplicateMetadataKey { key: key.into() }));
            }
            metadata.insert(key, value);
        }
        Ok(metadata)
    }
}
