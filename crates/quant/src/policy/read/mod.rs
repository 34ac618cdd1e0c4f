//! Parses and checks the text of a policy.

mod action;
mod rule;
mod toml_table;

use std::collections::BTreeMap;

use toml::de::DeTable;

use self::{
    rule::Sets,
    toml_table::{Document, Table},
};
use crate::Scheme;

use super::{
    Inner, Policy, PolicyError, PolicyProblem,
    cadence::{Cadence, Linear},
    glob::Glob,
    rule::{MAX_SETS, Role, Rules},
};

/// Largest total number of patterns and other list entries in one policy.
const MAX_ENTRIES: usize = 10_000;
/// Largest length of a reason or a description, in characters.
const MAX_PROSE: usize = 300;
/// Default of `min_elements`: smaller tensors are kept.
const MIN_ELEMENTS: u64 = 1024;

const TOP: &[&str] = &["name", "description", "min_elements", "fp8", "role", "model", "cadence", "rule"];
const ROLE: &[&str] = &["name", "not_name", "or_stacked"];
const MODEL: &[&str] = &["architecture"];
const CADENCE: &[&str] = &["first", "last", "middle_end", "every", "at", "layers", "stated"];

/// Parses a policy. It is called `name` unless the text gives it another name.
pub(super) fn policy(text: &str, name: &str) -> Result<Policy, PolicyError> {
    if text.len() > Policy::MAX_BYTES {
        let problem = PolicyProblem::TooMany { what: "bytes", limit: Policy::MAX_BYTES, found: text.len() };
        return Err(toml_table::error(text, 0, problem));
    }
    let document = DeTable::parse(text).map_err(|error| syntax(text, &error))?;
    let shared = Document::new(text);
    let top = Table::top(&shared, &document, TOP)?;

    let name = top.text("name", |text| named(text).map(str::to_owned))?.unwrap_or_else(|| name.to_owned());
    let description = top.text("description", |text| prose(text).map(str::to_owned))?.unwrap_or_default();
    let min_elements = top.number("min_elements", 1..=u64::MAX)?.unwrap_or(MIN_ELEMENTS);
    let fp8 = top.text("fp8", action::request)?.unwrap_or(Scheme::INT8);
    let (role_names, roles) = sets(&top, "role", "a role", ROLE, role)?;
    let (model_names, models) = sets(&top, "model", "a model", MODEL, model)?;
    let (cadence_names, cadences) = sets(&top, "cadence", "a cadence", CADENCE, cadence)?;

    let sets = Sets { roles: &role_names, models: &model_names, cadences: &cadence_names };
    let tables = top.tables("rule", "a rule", rule::KEYS, Policy::MAX_RULES)?;
    let list = tables.iter().map(|table| rule::read(table, &sets)).collect::<Result<_, _>>()?;
    let checked = Rules { min_elements, fp8, roles, models, cadences, list };
    Ok(Policy(Inner { name, description, source: text.to_owned(), rules: checked }.into()))
}

/// Builds the error about a text that has the name of a built-in policy, but is another policy.
pub(super) fn reserved(text: &str, name: &str) -> PolicyError {
    let at = DeTable::parse(text).ok().and_then(|table| table.get_ref().get("name").map(|name| name.span().start));
    toml_table::error(text, at.unwrap_or(0), PolicyProblem::Reserved { found: name.to_owned() })
}

fn syntax(text: &str, error: &toml::de::Error) -> PolicyError {
    let at = error.span().map_or(0, |span| span.start);
    toml_table::error(text, at, PolicyProblem::Syntax { message: error.message().to_owned() })
}

/// Indices of named tables (roles, models or cadences) in the list that they were read into.
type Names<'t> = BTreeMap<&'t str, usize>;

/// Reads the named tables below `key`, such as `[role.router]` and `[role.down]`.
fn sets<'t, T>(
    top: &Table<'t>,
    key: &'static str,
    what: &'static str,
    known: &'static [&'static str],
    read: fn(&Table<'t>) -> Result<T, PolicyError>,
) -> Result<(Names<'t>, Vec<T>), PolicyError> {
    let tables = top.named_tables(key, what, known, MAX_SETS)?;
    let names = tables.iter().enumerate().map(|(at, (name, _))| (*name, at)).collect();
    let sets = tables.iter().map(|(_, table)| read(table)).collect::<Result<_, _>>()?;
    Ok((names, sets))
}

fn role(table: &Table<'_>) -> Result<Role, PolicyError> {
    let or_stacked = table.flag("or_stacked")?.unwrap_or(false);
    let name = table.list("name", Glob::parse)?;
    if name.is_none() && !or_stacked {
        return Err(table.missing("name"));
    }
    let not_name = table.list("not_name", Glob::parse)?.unwrap_or_default();
    Ok(Role { name: name.unwrap_or_default(), not_name, or_stacked })
}

fn model(table: &Table<'_>) -> Result<Vec<Glob>, PolicyError> {
    table.list("architecture", Glob::parse)?.ok_or_else(|| table.missing("architecture"))
}

fn cadence(table: &Table<'_>) -> Result<Cadence, PolicyError> {
    let linear = |text: &str| {
        Linear::parse(text)
            .ok_or_else(|| "a number of layers such as \"7n/8\" or \"n/2-4\", where n counts all layers".to_owned())
    };
    let every = table.number("every", 1..=u64::MAX)?.unwrap_or(1);
    Ok(Cadence {
        first: table.text("first", linear)?.ok_or_else(|| table.missing("first"))?,
        last: table.text("last", linear)?.ok_or_else(|| table.missing("last"))?,
        middle_end: table.text("middle_end", linear)?,
        every,
        at: table.number("at", 0..=every - 1)?.unwrap_or(0),
        layers: table.number("layers", 1..=u64::MAX)?,
        needs_stated: table.flag("stated")?.unwrap_or(false),
    })
}

/// Checks a name of a policy: it can stand in paths, documents and messages.
fn named(text: &str) -> Result<&str, String> {
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if fits { Ok(text) } else { Err("1 to 64 letters, digits, dots, hyphens and underscores".into()) }
}

/// Checks a text for people: one line of limited length.
fn prose(text: &str) -> Result<&str, String> {
    let fits = text.chars().count() <= MAX_PROSE && !text.chars().any(char::is_control) && !text.trim().is_empty();
    if fits { Ok(text) } else { Err(format!("one line of at most {MAX_PROSE} characters")) }
}
