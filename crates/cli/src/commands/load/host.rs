//! `load NAME --device host`: mapped, beside a plain loop over the same files.

use std::{hint::black_box, process::ExitCode, time::Instant};

use longshore_manifest::{
    Store,
    store::Model,
    weights::{OpenOptions, Weights, plain_loop},
};

use super::{
    refusals::{corrupt, no_match},
    report::{Report, peak_rss},
};
use crate::{args::Load, format::plural, printer::Printer, progress::Bar};

pub(super) fn run(
    args: &Load,
    store: &Store,
    model: &Model,
    options: &OpenOptions<'_>,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let mut report = Report::new("host", "open, map, touch a page of each blob, 1 thread");
    for _ in 0..args.repeat.get() {
        let started = Instant::now();
        let weights = black_box(Weights::open(store, &store.model(&args.name)?, options)?);
        if args.verify {
            weights.verify(&Bar::new(printer)).map_err(|error| corrupt(error, &args.name))?;
        }
        report.seconds.push(started.elapsed().as_secs_f64());
        (report.tensors, report.bytes) = (weights.len(), weights.bytes());
        if weights.is_empty() {
            return Err(no_match(args));
        }
        let blobs: Vec<_> = weights.digests().map(|digest| store.blob_path(&digest)).collect();
        drop(weights);
        report.note_bound(plain_loop(&blobs)?.as_secs_f64());
    }
    report.peak_rss = peak_rss();
    printer.report(&report, || human(args, model, &report))?;
    Ok(ExitCode::SUCCESS)
}

fn human(args: &Load, model: &Model, report: &Report) -> String {
    let mut text = report.heading(args, "on the host, mapped and not copied");
    report.timings(&mut text, args);
    let layers = plural(model.manifest.layers.len(), "layer");
    report.memory(&mut text, &format!(", tables of {layers} included"));
    text
}
