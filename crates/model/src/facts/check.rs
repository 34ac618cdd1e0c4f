//! Contradictions within a configuration.

use serde_json::Value;

use super::{
    Facts,
    contradiction::{Contradiction, Statement},
};
use crate::config::reader::{ConfigReader, Level, Source};

/// Names under which families state one fact, of which a configuration may have several.
const SPELLINGS: [&[&str]; 6] = [
    &["num_hidden_layers", "n_layer", "n_layers"],
    &["hidden_size", "n_embd", "d_model"],
    &["num_attention_heads", "n_head", "n_heads"],
    &["num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_head_kv"],
    &["num_experts", "num_local_experts", "n_routed_experts"],
    &["num_experts_per_tok", "num_experts_per_token", "experts_per_token"],
];
/// Lists and patterns with exactly one entry for each layer.
const LISTS: [&str; 4] = ["layer_types", "layers_block_type", "hybrid_override_pattern", "mlp_layer_types"];

/// Checks members of one level against each other. Values on different levels may be those of different models.
pub(crate) fn config(reader: &ConfigReader<'_>, facts: &Facts) -> Result<(), Contradiction> {
    for level in reader.levels() {
        spellings(level)?;
        lists(level, facts)?;
    }
    // Compressed keys and states have head counts of their own.
    if facts.attention.latent.is_none() && facts.state_space.is_none() {
        let even = |whole: u64, part: u64| part == 0 || whole.is_multiple_of(part);
        pair(
            reader,
            facts.heads,
            "heads",
            facts.kv_heads,
            "kv_heads",
            even,
            "key and value heads share the heads evenly",
        )?;
        if facts.head_dim.is_none() && facts.per_layer.heads.is_empty() {
            let rule = "without a head size, heads share the hidden size evenly";
            pair(reader, facts.hidden_size, "hidden_size", facts.heads, "heads", even, rule)?;
        }
    }
    let (experts, used) = (facts.experts, facts.experts_per_token);
    let enough = |experts: u64, used: u64| experts == 0 || used <= experts;
    pair(reader, experts, "experts", used, "experts_per_token", enough, "a token uses no more experts than there are")?;
    let Some(router) = &facts.router else { return Ok(()) };
    let even = |experts: u64, groups: u64| groups == 0 || experts.is_multiple_of(groups);
    pair(reader, experts, "experts", router.groups, "router.groups", even, "groups share the experts evenly")?;
    let enough = |groups: u64, used: u64| groups == 0 || used <= groups;
    let (groups, used) = (router.groups, router.groups_per_token);
    let rule = "a token uses no more groups than there are";
    pair(reader, groups, "router.groups", used, "router.groups_per_token", enough, rule)
}

/// Checks two facts that one level states.
fn pair(
    reader: &ConfigReader<'_>,
    first: Option<u64>,
    first_fact: &str,
    second: Option<u64>,
    second_fact: &str,
    holds: impl Fn(u64, u64) -> bool,
    rule: &'static str,
) -> Result<(), Contradiction> {
    let (Some(first), Some(second)) = (first, second) else { return Ok(()) };
    let of = |fact: &str| reader.sources().get(fact);
    let (Some(one), Some(other)) = (of(first_fact), of(second_fact)) else { return Ok(()) };
    if one.path != other.path || holds(first, second) {
        return Ok(());
    }
    let statement = |source: &Source, value| Statement::new(source.place(), value);
    Err(Contradiction { first: statement(one, first), second: statement(other, second), rule })
}

fn spellings(level: &Level<'_>) -> Result<(), Contradiction> {
    for names in SPELLINGS {
        let mut stated = names.iter().filter_map(|name| Some((*name, level.members.get(*name)?.as_u64()?)));
        let Some((first, value)) = stated.next() else { continue };
        if let Some((second, other)) = stated.find(|(_, other)| *other != value) {
            let statement = |name, value| Statement::new(format!("{}{name}", level.path), value);
            let rule = "both state one fact";
            return Err(Contradiction { first: statement(first, value), second: statement(second, other), rule });
        }
    }
    Ok(())
}

/// A list may go on with the layers that predict further tokens.
fn lists(level: &Level<'_>, facts: &Facts) -> Result<(), Contradiction> {
    let stated = SPELLINGS[0].iter().find_map(|name| Some((*name, level.members.get(*name)?.as_u64()?)));
    let Some((name, layers)) = stated else { return Ok(()) };
    let most = layers.saturating_add(facts.draft_layers.unwrap_or(0));
    for list in LISTS {
        let entries = match level.members.get(list) {
            Some(Value::Array(entries)) => entries.len() as u64,
            Some(Value::String(pattern)) => pattern.chars().count() as u64,
            _ => continue,
        };
        if entries < layers || entries > most {
            return Err(Contradiction {
                first: Statement::new(format!("{}{name}", level.path), layers),
                second: Statement::new(format!("{}{list}", level.path), format_args!("a list of {entries}")),
                rule: "the list has an entry for each layer",
            });
        }
    }
    Ok(())
}
