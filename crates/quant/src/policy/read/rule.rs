//! Parses one rule.

use super::{Names, action, prose, toml_table::Table};
use crate::policy::{
    PolicyError,
    glob::Glob,
    rule::{Action, Family, Rule, Test},
};

pub(super) const KEYS: &[&str] = &[
    "name",
    "not_name",
    "role",
    "not_role",
    "stacked",
    "rank",
    "rank_below",
    "rank_above",
    "elements_below",
    "component",
    "model",
    "architecture",
    "draft",
    "tied",
    "experts",
    "layer",
    "in_layer",
    "layers_known",
    "layers_stated",
    "dense",
    "cadence",
    "request",
    "family",
    "bits_below",
    "action",
    "fallback",
    "reason",
];

/// The named tables that a rule may refer to.
pub(super) struct Sets<'s> {
    pub(super) roles: &'s Names<'s>,
    pub(super) models: &'s Names<'s>,
    pub(super) cadences: &'s Names<'s>,
}

pub(super) fn read(table: &Table<'_>, sets: &Sets<'_>) -> Result<Rule, PolicyError> {
    let line = table.line();
    let then = table.text("action", action::read)?.ok_or_else(|| table.missing("action"))?;
    let fallback = table.list("fallback", action::read)?.unwrap_or_default();
    let reason = table.text("reason", |text| prose(text).map(str::to_owned))?;
    let reason = reason.unwrap_or_else(|| format!("rule of line {line}: {}", unexplained(then)));
    Ok(Rule { line, when: tests(table, sets)?, then, fallback, reason })
}

/// Reason of a rule that gives none.
fn unexplained(then: Action) -> String {
    match then {
        Action::Keep => "kept".into(),
        Action::Request => "as requested".into(),
        Action::EightBit => "8-bit".into(),
        Action::Scheme(scheme) => scheme.to_string(),
        Action::Affine(bits) => format!("int{bits}"),
    }
}

fn tests(table: &Table<'_>, sets: &Sets<'_>) -> Result<Vec<Test>, PolicyError> {
    let role = |text: &str| one_of("a role", sets.roles, text);
    let model = |text: &str| one_of("a model", sets.models, text);
    let cadence = |text: &str| one_of("a cadence", sets.cadences, text);
    let any = 0..=u64::MAX;
    let found = [
        table.text("family", family)?.map(Test::Family),
        table.list("request", action::request)?.map(Test::Request),
        table.number("bits_below", any.clone())?.map(Test::BitsBelow),
        table.flag("draft")?.map(Test::Draft),
        table.flag("tied")?.map(Test::Tied),
        table.flag("stacked")?.map(Test::Stacked),
        table.numbers("rank")?.map(Test::Rank),
        table.number("rank_below", any.clone())?.map(Test::RankBelow),
        table.number("rank_above", any.clone())?.map(Test::RankAbove),
        table.number("elements_below", any)?.map(Test::ElementsBelow),
        table.numbers("experts")?.map(Test::Experts),
        table.flag("layers_known")?.map(Test::LayersKnown),
        table.flag("layers_stated")?.map(Test::LayersStated),
        table.list("component", Glob::parse)?.map(Test::Component),
        table.list("model", model)?.map(Test::Model),
        table.list("architecture", Glob::parse)?.map(Test::Architecture),
        table.flag("in_layer")?.map(Test::InLayer),
        table.numbers("layer")?.map(Test::Layer),
        table.flag("dense")?.map(Test::Dense),
        table.text("cadence", cadence)?.map(Test::Cadence),
        table.list("role", role)?.map(Test::Role),
        table.list("not_role", role)?.map(Test::NotRole),
        table.list("name", Glob::parse)?.map(Test::Name),
        table.list("not_name", Glob::parse)?.map(Test::NotName),
    ];
    let mut tests: Vec<Test> = found.into_iter().flatten().collect();
    tests.sort_by_key(Test::cost);
    Ok(tests)
}

fn family(text: &str) -> Result<Family, String> {
    match text {
        "integer" => Ok(Family::Integer),
        "float" => Ok(Family::Float),
        _ => Err("\"integer\" or \"float\"".into()),
    }
}

fn one_of(what: &str, names: &Names<'_>, text: &str) -> Result<usize, String> {
    names.get(text).copied().ok_or_else(|| {
        let known: Vec<&str> = names.keys().copied().collect();
        if known.is_empty() {
            format!("{what}, of which the policy defines none")
        } else {
            format!("{what} ({})", known.join(", "))
        }
    })
}
