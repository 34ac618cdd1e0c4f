//! A TOML table whose values are read by key and type, with errors that give their position.

use std::{
    cell::Cell,
    ops::{Range, RangeInclusive},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::MAX_ENTRIES;
use crate::policy::{PolicyError, PolicyProblem};

/// Largest length of the wrong value that an error repeats, in characters.
const MAX_ECHO: usize = 60;

/// A table, checked to have no unknown keys.
#[derive(Debug, Clone)]
pub(super) struct Table<'t> {
    document: &'t Document<'t>,
    what: &'static str,
    values: &'t DeTable<'t>,
    span: Range<usize>,
}

/// State that all tables of a text share.
#[derive(Debug)]
pub(super) struct Document<'t> {
    text: &'t str,
    /// Number of list entries read so far.
    entries: Cell<usize>,
}

impl<'t> Document<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, entries: Cell::new(0) }
    }
}

impl<'t> Table<'t> {
    /// Creates the table of the whole document.
    pub(super) fn top(
        document: &'t Document<'t>,
        table: &'t Spanned<DeTable<'t>>,
        known: &'static [&'static str],
    ) -> Result<Self, PolicyError> {
        Self::new(document, "a policy", table.get_ref(), 0..0, known)
    }

    fn new(
        document: &'t Document<'t>,
        what: &'static str,
        table: &'t DeTable<'t>,
        span: Range<usize>,
        known: &'static [&'static str],
    ) -> Result<Self, PolicyError> {
        let unknown = table.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
        match unknown.min_by_key(|key| key.span().start) {
            None => Ok(Self { document, what, values: table, span }),
            Some(key) => {
                let found = echo(key.get_ref());
                Err(error(document.text, key.span().start, PolicyProblem::UnknownKey { table: what, found, known }))
            }
        }
    }

    /// Line on which the table begins.
    pub(super) fn line(&self) -> u32 {
        position(self.document.text, self.span.start).0
    }

    /// Builds the error about a missing required key.
    pub(super) fn missing(&self, key: &'static str) -> PolicyError {
        error(self.document.text, self.span.start, PolicyProblem::MissingKey { table: self.what, key })
    }

    /// Reads a string and parses it with `read`. The error of `read` describes the expected text.
    pub(super) fn text<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, PolicyError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let DeValue::String(text) = value.get_ref() else { return Err(self.wrong(key, value, "a string")) };
        read(text).map(Some).map_err(|expected| self.wrong(key, value, &expected))
    }

    /// Reads a string or a list of strings, and parses each with `read`.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, PolicyError> {
        self.entries(key, "a string or a list of strings", |value| match value.get_ref() {
            DeValue::String(text) => read(text),
            _ => Err("a string".into()),
        })
    }

    /// Reads a number or a list of numbers.
    pub(super) fn numbers(&self, key: &'static str) -> Result<Option<Vec<u64>>, PolicyError> {
        self.entries(key, "a number or a list of numbers", |value| {
            number(value.get_ref()).ok_or_else(|| "a whole number from 0".into())
        })
    }

    /// Reads a number within `range`.
    pub(super) fn number(&self, key: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>, PolicyError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let expected = || match *range.end() {
            u64::MAX => format!("a whole number from {}", range.start()),
            end => format!("a whole number from {} to {end}", range.start()),
        };
        match number(value.get_ref()) {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self.wrong(key, value, &expected())),
        }
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(&self, key: &'static str) -> Result<Option<bool>, PolicyError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(Some(*flag)),
            _ => Err(self.wrong(key, value, "true or false")),
        }
    }

    /// Reads an array of tables such as `[[rule]]`.
    pub(super) fn tables(
        &self,
        key: &'static str,
        what: &'static str,
        known: &'static [&'static str],
        limit: usize,
    ) -> Result<Vec<Self>, PolicyError> {
        let Some(value) = self.get(key) else { return Err(self.missing(key)) };
        let DeValue::Array(array) = value.get_ref() else { return Err(self.wrong(key, value, "tables: [[rule]]")) };
        if array.len() > limit {
            return Err(self.too_many(value, "rules", limit, array.len()));
        }
        let table = |entry: &'t Spanned<DeValue<'t>>| match entry.get_ref() {
            DeValue::Table(table) => Self::new(self.document, what, table, entry.span(), known),
            _ => Err(self.wrong(key, entry, "a table")),
        };
        array.iter().map(table).collect()
    }

    /// Reads the named tables below `key`, such as `[role.router]`. Returns none where the key is absent.
    pub(super) fn named_tables(
        &self,
        key: &'static str,
        what: &'static str,
        known: &'static [&'static str],
        limit: usize,
    ) -> Result<Vec<(&'t str, Self)>, PolicyError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let expected = || format!("tables: [{key}.NAME]");
        let DeValue::Table(tables) = value.get_ref() else { return Err(self.wrong(key, value, &expected())) };
        if tables.len() > limit {
            return Err(self.too_many(value, "tables of one kind", limit, tables.len()));
        }
        let table = |(name, entry): (&'t Spanned<_>, &'t Spanned<DeValue<'t>>)| {
            let name: &'t std::borrow::Cow<'t, str> = name.get_ref();
            match entry.get_ref() {
                DeValue::Table(table) => {
                    Ok((name.as_ref(), Self::new(self.document, what, table, entry.span(), known)?))
                }
                _ => Err(self.wrong(key, entry, &expected())),
            }
        };
        tables.iter().map(table).collect()
    }

    fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.values.get(key)
    }

    /// Reads a single value, or the values of an array.
    fn entries<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&Spanned<DeValue<'t>>) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, PolicyError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let entries = match value.get_ref() {
            DeValue::Array(array) => &array[..],
            _ => std::slice::from_ref(value),
        };
        if entries.is_empty() {
            return Err(self.wrong(key, value, expected));
        }
        let total = self.document.entries.get() + entries.len();
        if total > MAX_ENTRIES {
            return Err(self.too_many(value, "entries of lists", MAX_ENTRIES, total));
        }
        self.document.entries.set(total);
        let entry = |entry| read(entry).map_err(|expected| self.wrong(key, entry, &expected));
        entries.iter().map(entry).collect::<Result<_, _>>().map(Some)
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'t>>, expected: &str) -> PolicyError {
        let found = match value.get_ref() {
            DeValue::String(text) => echo(text),
            DeValue::Integer(number) => echo(number.as_str()),
            DeValue::Float(number) => echo(number.as_str()),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Datetime(_) => "a date".into(),
            DeValue::Array(array) if array.is_empty() => "an empty list".into(),
            DeValue::Array(_) => "a list".into(),
            DeValue::Table(_) => "a table".into(),
        };
        let found = if matches!(value.get_ref(), DeValue::String(_)) { format!("{found:?}") } else { found };
        let problem = PolicyProblem::Value { key: key.to_owned(), expected: expected.to_owned(), found };
        error(self.document.text, value.span().start, problem)
    }

    fn too_many(&self, value: &Spanned<DeValue<'t>>, what: &'static str, limit: usize, found: usize) -> PolicyError {
        error(self.document.text, value.span().start, PolicyProblem::TooMany { what, limit, found })
    }
}

/// Builds an error with the position of byte `at` of the text.
pub(super) fn error(text: &str, at: usize, problem: PolicyProblem) -> PolicyError {
    let (line, column) = position(text, at);
    PolicyError { line, column, problem }
}

/// Line and column of byte `at`, both counted from 1.
fn position(text: &str, at: usize) -> (u32, u32) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let newlines = before.split(|byte| *byte == b'\n').skip(1).count();
    let line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).saturating_add(1);
    (count(newlines), count(String::from_utf8_lossy(line).chars().count()))
}

fn number(value: &DeValue<'_>) -> Option<u64> {
    let DeValue::Integer(number) = value else { return None };
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The beginning of `text`, to be quoted in an error.
fn echo(text: &str) -> String {
    match text.char_indices().nth(MAX_ECHO) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
