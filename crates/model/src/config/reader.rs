//! Looking facts up in a configuration, with the place of each.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::keys::{NESTED, NESTING};

/// A configuration, as a reader of facts sees it: the document and the nested descriptions of its language model, outermost
/// first.
///
/// Each look-up takes the name of the fact that it is for, such as `heads` or `attention.window`, and records which member
/// gave it. A member of another type counts as absent.
#[derive(Debug)]
pub struct ConfigReader<'a> {
    levels: Vec<Level<'a>>,
    sources: BTreeMap<&'static str, Source>,
}

/// The document, or an object within it.
#[derive(Debug, Clone)]
pub(crate) struct Level<'a> {
    /// The members that lead here, each with a dot after it.
    pub(crate) path: String,
    pub(crate) members: &'a Map<String, Value>,
}

/// The place of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The members that lead to the one that gave it, each with a dot after it.
    pub(crate) path: String,
    /// The member, or the rule that gave it.
    pub(crate) member: String,
    /// Whether no other level states the fact.
    pub(crate) is_alone: bool,
}

impl<'a> ConfigReader<'a> {
    pub(crate) fn new(document: &'a Map<String, Value>) -> Self {
        let mut levels = vec![Level { path: String::new(), members: document }];
        while let Some(inner) = levels.last().and_then(nested) {
            levels.push(inner);
            if levels.len() > NESTING {
                break;
            }
        }
        Self { levels, sources: BTreeMap::new() }
    }

    /// Returns a whole number from the first of the members that is one.
    pub fn number(&mut self, fact: &'static str, members: &[&str]) -> Option<u64> {
        self.find(fact, members, Value::as_u64)
    }

    /// Returns a number as it is written, from the first of the members that is one.
    pub fn exact(&mut self, fact: &'static str, members: &[&str]) -> Option<Number> {
        self.find(fact, members, |value| value.as_number().cloned())
    }

    /// Returns the first of the members that is true or false.
    pub fn flag(&mut self, fact: &'static str, members: &[&str]) -> Option<bool> {
        self.find(fact, members, Value::as_bool)
    }

    /// Returns the first of the members that is a string and not empty.
    pub fn text(&mut self, fact: &'static str, members: &[&str]) -> Option<String> {
        self.find(fact, members, super::document::text)
    }

    /// Returns the first of the members that is a list of whole numbers, and not empty.
    pub fn numbers(&mut self, fact: &'static str, members: &[&str]) -> Option<Vec<u64>> {
        self.find(fact, members, |value| {
            let list: Option<Vec<u64>> = value.as_array()?.iter().map(Value::as_u64).collect();
            list.filter(|list| !list.is_empty())
        })
    }

    /// Returns what `read` makes of the first of the members of which it makes something. Each level is searched for all
    /// members before the next.
    pub fn find<T>(
        &mut self,
        fact: &'static str,
        members: &[&str],
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let (path, member, found) = self.levels.iter().find_map(|level| {
            let found =
                |member: &&str| Some((level.path.clone(), (*member).to_owned(), read(level.members.get(*member)?)?));
            members.iter().find_map(found)
        })?;
        let states =
            |level: &Level<'a>| members.iter().any(|member| level.members.get(*member).and_then(&read).is_some());
        let is_alone = self.levels.iter().filter(|level| states(level)).count() == 1;
        self.sources.insert(fact, Source { path, member, is_alone });
        Some(found)
    }

    /// Records that `rule`, such as `a default of the family gemma3`, gave the fact.
    pub fn derived(&mut self, fact: &'static str, rule: impl Into<String>) {
        self.sources.insert(fact, Source { path: String::new(), member: rule.into(), is_alone: true });
    }

    pub(crate) fn levels(&self) -> &[Level<'a>] {
        &self.levels
    }

    /// The first of the members that is an object, with its place.
    pub(crate) fn object(&self, members: &[&str]) -> Option<Level<'a>> {
        self.levels.iter().find_map(|level| members.iter().find_map(|member| level.inner(member)))
    }

    /// A reader of one object alone, whose places continue those of this reader.
    pub(crate) fn within(&mut self, level: Level<'a>, read: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.levels, vec![level]);
        read(self);
        self.levels = outer;
    }

    pub(crate) fn sources(&self) -> &BTreeMap<&'static str, Source> {
        &self.sources
    }

    pub(crate) fn into_sources(self) -> BTreeMap<&'static str, Source> {
        self.sources
    }
}

impl Level<'_> {
    pub(crate) fn inner(&self, member: &str) -> Option<Self> {
        let members = self.members.get(member)?.as_object()?;
        Some(Self { path: format!("{}{member}.", self.path), members })
    }
}

impl Source {
    /// The dotted path of the member.
    pub(crate) fn place(&self) -> String {
        format!("{}{}", self.path, self.member)
    }
}

fn nested<'a>(level: &Level<'a>) -> Option<Level<'a>> {
    NESTED.iter().find_map(|member| level.inner(member))
}
