//! `load NAME --device mlx`: as MLX arrays.

use std::{hint::black_box, process::ExitCode, time::Instant};

use longshore_loader_mlx::{LoadError, LoadOptions, LoadOutcome, MlxWeights};
use longshore_manifest::{
    Store,
    store::Model,
    weights::{OpenOptions, Weights},
};

use super::{
    refusals::{corrupt, no_match},
    report::{Report, peak_rss},
};
use crate::{advice::Advice, args::Load, errors::text, printer::Printer, progress::Bar};

pub(super) fn run(
    args: &Load,
    store: &Store,
    model: &Model,
    options: &OpenOptions<'_>,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let mut how = LoadOptions::default();
    how.dtype = args.dtype;
    let mut report = Report::new("mlx", "read the same bytes where they are mapped, all cores");
    let mut last = None;
    for _ in 0..args.repeat.get() {
        let started = Instant::now();
        if args.verify {
            let mapped = Weights::open(store, model, options)?;
            mapped.verify(&Bar::new(printer)).map_err(|error| corrupt(error, &args.name))?;
        }
        let mut weights = MlxWeights::open(store, model, options)?;
        if weights.is_empty() {
            return Err(no_match(args));
        }
        last = Some(weights.load(&how).map_err(advice)?);
        report.seconds.push(started.elapsed().as_secs_f64());
        (report.tensors, report.bytes) = (weights.len(), weights.bytes());
        weights.release();
        let started = Instant::now();
        black_box(weights.read_all(None));
        report.note_bound(started.elapsed().as_secs_f64());
    }
    report.peak_rss = peak_rss();
    printer.report(&report, || human(args, last, &report))?;
    Ok(ExitCode::SUCCESS)
}

fn human(args: &Load, outcome: Option<LoadOutcome>, report: &Report) -> String {
    let how = match outcome {
        Some(outcome) if outcome.mapped_bytes == 0 => "copied once",
        Some(outcome) if outcome.copied_bytes == 0 => "mapped and not copied",
        _ => "mapped in part",
    };
    let mut text = report.heading(args, &format!("as MLX arrays, {how}"));
    report.timings(&mut text, args);
    report.memory(&mut text, "");
    text
}

fn advice(error: LoadError) -> anyhow::Error {
    match error {
        LoadError::NotBuilt => {
            let hint = if cfg!(target_os = "linux") {
                "crates/loader-mlx/linux/setup.sh in the source tree prepares a build with it; --device host needs none"
            } else {
                "--device host loads into host memory"
            };
            Advice::failure(error.to_string()).hint(hint).into()
        }
        // What was at fault with the input was found before: this is the machine, or MLX.
        error => Advice::failure(text(&error)).into(),
    }
}
