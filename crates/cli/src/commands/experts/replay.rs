//! `experts replay TRACE`: what a cache would hit.

use std::process::ExitCode;

use longshore_experts::{LayerBefore, MostUsed, Predictor, ReplayOptions, SameAgain, Trace, recall, replay};
use serde::Serialize;

use super::trace;
use crate::{
    args::experts::ExpertsReplay,
    format::{plural, to_f64},
    lines::Lines,
    printer::{Printer, VERSION},
    table::facts,
};

#[derive(Serialize)]
struct Report {
    version: u32,
    slots: usize,
    pinned: usize,
    requests: u64,
    hits: u64,
    misses: u64,
}

pub(super) fn run(args: &ExpertsReplay, printer: &Printer) -> anyhow::Result<ExitCode> {
    let trace = trace::read(&args.trace)?;
    let options = ReplayOptions { slots: args.slots, pinned: args.pinned, warm: args.warm };
    let done = replay(&trace, &options)?;
    let report = Report {
        version: VERSION,
        slots: done.slots,
        pinned: done.pinned,
        requests: done.requests,
        hits: done.hits,
        misses: done.misses(),
    };
    printer.report(&report, || human(&trace, &report, printer))?;
    Ok(ExitCode::SUCCESS)
}

fn human(trace: &Trace, report: &Report, printer: &Printer) -> Lines {
    let header = trace.header();
    let replayed = usize::try_from(report.requests).unwrap_or(usize::MAX) / header.choices();
    let counted = trace.len() - replayed;
    let share = |count: u64| format!("{count}, {:.1} %", 100.0 * to_f64(count) / to_f64(report.requests));
    let mut lines = vec![
        (
            "routing",
            format!("{} of {} experts in {}", header.top_k(), header.experts(), plural(header.layers().len(), "layer")),
        ),
        ("tokens", format!("{counted} counted, {replayed} replayed")),
        ("slots", format!("{}, {} of them pinned", report.slots, report.pinned)),
        ("hits", share(report.hits)),
        ("misses", share(report.misses)),
    ];
    let predictors: [(&str, Box<dyn Predictor>); 3] = [
        ("those chosen most often", Box::new(MostUsed::new(header))),
        ("those of the token before in the same layer", Box::new(SameAgain::new(header))),
        ("those of the layer before", Box::new(LayerBefore::new(header))),
    ];
    for (what, mut predictor) in predictors {
        if let Some(recall) = recall(trace, counted, predictor.as_mut()) {
            lines.push(("guessed", format!("{:.1} % are {what}", 100.0 * recall)));
        }
    }
    facts(&lines, printer.columns())
}
