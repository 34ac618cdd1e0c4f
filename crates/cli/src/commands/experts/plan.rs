//! `experts plan NAME`: which experts belong on a device, in host memory and on the disk.

use std::{cmp::Reverse, collections::BTreeSet, path::Path, process::ExitCode};

use longshore_experts::{Budgets, ExpertMap, ExpertRange, Placement, PlacementError, Tier, Uses, place};
use longshore_manifest::Store;
use serde::Serialize;

use super::trace;
use crate::{
    advice::Advice,
    args::experts::ExpertsPlan,
    commands::input::Input,
    door,
    format::{plural, size},
    lines::Lines,
    printer::{Printer, VERSION},
    table::{Align, facts, table},
};

#[derive(Serialize)]
struct Report {
    version: u32,
    shared_bytes: u64,
    tiers: Vec<TierReport>,
    placement: Vec<Place>,
}

#[derive(Serialize)]
struct TierReport {
    tier: String,
    budget: Option<u64>,
    bytes: u64,
    experts: usize,
}

#[derive(Serialize)]
struct Place {
    layer: u32,
    expert: u32,
    tier: String,
    bytes: u64,
    uses: Option<u64>,
}

pub(super) fn run(
    args: &ExpertsPlan,
    store: impl FnOnce() -> anyhow::Result<Store>,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let trace = args.stats.as_deref().map(trace::read).transpose()?;
    let input = Input::of(&args.model, store)?;
    let map = input.with_source(printer, |source| {
        Input::notes(source, printer);
        Ok(ExpertMap::new(source)?)
    })?;
    if map.is_empty() {
        let text = format!("{} has no experts", input.name());
        return Err(Advice::input(text).hint("longshore show NAME says what a model has").into());
    }
    if let (Some(trace), Some(path)) = (&trace, &args.stats) {
        let header = trace.header();
        for layer in header.layers() {
            let found = map.layer(*layer).map_or(0, |found| found.experts().end);
            if found != header.experts() {
                return Err(other_model(path, *layer, header.experts(), &input.name(), found).into());
            }
        }
    }
    let uses: Option<Uses> = trace.map(|trace| trace.uses());
    let budgets = Budgets { device: args.device_budget, host: args.host_budget };
    let placement = place(&map, uses.as_ref(), budgets).map_err(refused)?;
    let report = Report {
        version: VERSION,
        shared_bytes: placement.shared_bytes,
        tiers: placement
            .tiers
            .iter()
            .map(|share| TierReport {
                tier: share.tier.to_string(),
                budget: share.budget,
                bytes: share.bytes,
                experts: share.experts,
            })
            .collect(),
        placement: placement
            .experts
            .iter()
            .map(|placed| Place {
                layer: placed.key.layer,
                expert: placed.key.expert,
                tier: placed.tier.to_string(),
                bytes: placed.bytes,
                uses: placed.uses,
            })
            .collect(),
    };
    printer.report(&report, || human(args, (&input.name(), &map), &placement, printer.columns()))?;
    Ok(ExitCode::SUCCESS)
}

fn human(args: &ExpertsPlan, (name, map): (&str, &ExpertMap), placement: &Placement, room: Option<usize>) -> Lines {
    let bytes: u64 = placement.tiers.iter().map(|share| share.bytes).sum();
    let first = placement.tiers.first().map_or(Tier::Host, |share| share.tier);
    let layers: Vec<_> = placement.experts.chunk_by(|a, b| a.key.layer == b.key.layer).collect();
    let (experts, count) = (plural(placement.experts.len(), "expert"), plural(layers.len(), "layer"));
    let order = match &args.stats {
        Some(path) => format!("most used first, by the choices in {}", door::path(path)),
        None => "whole layers from the last: --stats TRACE places by use".to_owned(),
    };
    let mut text = facts(
        &[
            ("model", name.to_owned()),
            ("experts", format!("{experts} of {count}, {}", size(bytes))),
            ("each", largest(map)),
            ("shared", format!("{}, which every token uses: on the {first}", size(placement.shared_bytes))),
            ("order", order),
        ],
        room,
    );
    let rows: Vec<Vec<String>> = placement
        .tiers
        .iter()
        .map(|share| {
            let least = share.bound.map_or_else(String::new, |bound| format!("{:.2} %", (bound * 1e4).floor() / 1e2));
            let budget = share.budget.map_or_else(|| "none".to_owned(), size);
            vec![share.tier.to_string(), budget, share.experts.to_string(), size(share.bytes), least]
        })
        .collect();
    let columns = [
        ("TIER", Align::Left),
        ("BUDGET", Align::Right),
        ("EXPERTS", Align::Right),
        ("SIZE", Align::Right),
        ("OF THE BEST, AT LEAST", Align::Right),
    ];
    let shown = if placement.is_by_uses { columns.len() } else { columns.len() - 1 };
    let rows: Vec<_> = rows.into_iter().map(|row| row.into_iter().take(shown).collect()).collect();
    text.line("");
    text.append(&table(&columns[..shown], &rows, room));

    let tiers: Vec<Tier> = placement.tiers.iter().map(|share| share.tier).collect();
    let heads: Vec<String> = tiers.iter().map(|tier| tier.to_string().to_uppercase()).collect();
    let columns: Vec<_> =
        [("LAYER", Align::Right)].into_iter().chain(heads.iter().map(|head| (head.as_str(), Align::Right))).collect();
    let rows: Vec<Vec<String>> = layers
        .iter()
        .map(|layer| {
            let count = |tier| layer.iter().filter(|placed| placed.tier == tier).count().to_string();
            [layer[0].key.layer.to_string()].into_iter().chain(tiers.iter().map(|tier| count(*tier))).collect()
        })
        .collect();
    text.line("");
    text.append(&table(&columns, &rows, room));
    text
}

/// The largest expert, as bytes and ranges that have to be read.
fn largest(map: &ExpertMap) -> String {
    let key = map.keys().max_by_key(|key| (map.bytes(*key), Reverse(*key)));
    let ranges = key.and_then(|key| map.ranges(key)).unwrap_or_default();
    let bytes = ranges.iter().map(ExpertRange::len).sum();
    let blobs: BTreeSet<_> = ranges.iter().map(|range| range.blob).collect();
    let (ranges, files) = (plural(ranges.len(), "range"), plural(blobs.len(), "file"));
    format!("up to {}, in {ranges} of {files}", size(bytes))
}

/// Says that a trace is of another model.
fn other_model(path: &Path, layer: u32, expected: u32, name: &str, found: u32) -> Advice {
    let trace = door::path(path);
    Advice::input(format!(
        "layer {layer} of {name} has {found} experts, expected {expected}, as the trace {trace} says"
    ))
    .hint("a trace belongs to the model that it was recorded of")
}

fn refused(error: PlacementError) -> anyhow::Error {
    match error {
        PlacementError::Budget { tier, shared, .. } => {
            let hint = format!("--{tier}-budget {shared} or more holds that, and each expert comes on top");
            Advice::input(error.to_string()).hint(hint).into()
        }
        error => error.into(),
    }
}
