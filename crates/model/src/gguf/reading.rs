//! Looking keys up, and the members that they become.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::families::Family;

/// Longest `general.architecture`, or other name, that is believed, in bytes.
pub(super) const MAX_NAME: usize = 64;

/// A configuration that is being read.
pub(super) struct Reading<'k> {
    pub(super) key: &'k dyn Fn(&str) -> Option<Value>,
    pub(super) has_tensor: &'k dyn Fn(&str) -> bool,
    pub(super) architecture: String,
    pub(super) family: Option<&'static Family>,
    pub(super) config: Map<String, Value>,
    /// The key that gave each member.
    pub(super) origins: BTreeMap<String, String>,
    pub(super) notes: Vec<String>,
}

impl<'k> Reading<'k> {
    pub(super) fn new(
        key: &'k dyn Fn(&str) -> Option<Value>,
        has_tensor: &'k dyn Fn(&str) -> bool,
        architecture: String,
    ) -> Self {
        let family = Family::of_gguf(&architecture);
        let (config, origins, notes) = (Map::new(), BTreeMap::new(), Vec::new());
        Self { key, has_tensor, architecture, family, config, origins, notes }
    }

    /// Sets a member that no key gave to what its family has.
    pub(super) fn default(&mut self, member: &str, value: impl Into<Value>) {
        self.config.entry(member).or_insert_with(|| value.into());
    }

    pub(super) fn set(&mut self, member: &str, value: Value, key: &str) {
        self.config.insert(member.to_owned(), value);
        self.origin(member, key);
    }

    /// Records the key that gave a member.
    pub(super) fn origin(&mut self, member: &str, key: &str) {
        self.origins.insert(member.to_owned(), format!("{}.{key}", self.architecture));
    }

    pub(super) fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    pub(super) fn get(&self, key: &str) -> Option<Value> {
        (self.key)(&format!("{}.{key}", self.architecture))
    }

    /// An integer, or the element that all layers have in common.
    pub(super) fn whole(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Value::Array(list) => {
                let first = list.first()?.as_u64()?;
                list.iter().all(|other| other.as_u64() == Some(first)).then_some(first)
            }
            value => value.as_u64(),
        }
    }

    /// The numbers of the layers, where a list has them.
    pub(super) fn list(&self, key: &str) -> Option<Vec<u64>> {
        self.get(key)?.as_array()?.iter().map(Value::as_u64).collect()
    }

    pub(super) fn number_of(&self, key: &str) -> Option<Number> {
        self.get(key)?.as_number().cloned()
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        let text = self.get(key)?.as_str()?.to_owned();
        (1..=MAX_NAME).contains(&text.len()).then_some(text)
    }

    pub(super) fn number(&mut self, member: &str, key: &str) {
        if let Some(number) = self.whole(key) {
            self.set(member, number.into(), key);
        }
    }

    /// A number, or a list of those of the layers if they differ.
    pub(super) fn numbers(&mut self, member: &str, key: &str) {
        match (self.whole(key), self.list(key)) {
            (Some(number), _) => self.set(member, number.into(), key),
            (None, Some(list)) if !list.is_empty() => self.set(member, list.into(), key),
            _ => {}
        }
    }

    pub(super) fn float(&mut self, member: &str, key: &str) {
        if let Some(number) = self.number_of(key) {
            self.set(member, Value::Number(number), key);
        }
    }

    pub(super) fn flag(&mut self, member: &str, key: &str) {
        if let Some(flag) = self.get(key).filter(Value::is_boolean) {
            self.set(member, flag, key);
        }
    }
}
