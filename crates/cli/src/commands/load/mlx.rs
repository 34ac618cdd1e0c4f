//! `load --device mlx`: as MLX arrays.

use std::{
    hint::black_box,
    num::NonZero,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use longshore_loader_mlx::{LoadError, LoadOptions, LoadOutcome, MlxWeights, OpenError};
use longshore_manifest::{
    document::Role,
    weights::{BlockForm, OpenOptions, Weights, plan::Selection},
};

use super::{
    Input,
    refusals::{corrupt, opening, selection as refused_selection},
    report::{Report, peak_rss},
};
use crate::{
    advice::Advice,
    args::{load::Load, types::dtype},
    errors::text,
    format::size,
    lines::Lines,
    printer::Printer,
    progress::Bar,
};

pub(super) fn run(args: &Load, input: &Input, selection: &Selection, printer: &Printer) -> anyhow::Result<ExitCode> {
    let how = LoadOptions { dtype: args.dtype, decode: args.dtype.is_some(), ..Default::default() };
    let mut report = Report::new("mlx", "read the same bytes where they are mapped, all cores");
    let mut last = None;
    let options = OpenOptions { selection: selection.clone(), ..Default::default() };
    let open = |source: &_| Weights::open_source(source, &options).map_err(|error| opening(error, args, input));
    for repeat in 0..args.repeat.get() {
        let started = Instant::now();
        if args.verify {
            let mapped = input.with_source(printer, open)?;
            let verified = mapped.verify(&Bar::new(printer)).map_err(|error| corrupt(error, &input.name()))?;
            report.verified = Some(verified.into());
        }
        let mut weights = input.with_source(printer, |source| {
            if repeat == 0 {
                Input::notes(source, printer);
                report.notes = source.notes().to_vec();
                let blocks =
                    OpenOptions { blocks: BlockForm::MlxAlone, dtype: args.dtype.map(dtype), ..options.clone() };
                let bytes = Weights::made_bytes_of(source, &blocks).map_err(|error| opening(error, args, input))?;
                if bytes > 0 {
                    printer.note(&format!("takes {} of memory to convert ggml's blocks", size(bytes)));
                }
            }
            MlxWeights::open_source_as(source, selection, args.dtype).map_err(|error| match error {
                OpenError::Plan(error) => refused_selection(&error, args, input),
                OpenError::Blocks(error) => opening(error, args, input),
                error => error.into(),
            })
        })?;
        let converted = weights.converted_bytes(&how);
        if repeat == 0 && converted > 0 {
            printer.note(&format!("takes {} of memory for conversions", size(converted)));
        }
        report.made_bytes = Some(converted).filter(|bytes| *bytes > 0);
        last = Some(weights.load(&how).map_err(advice)?);
        report.seconds.push(started.elapsed().as_secs_f64());
        (report.tensors, report.bytes) = (weights.len(), weights.bytes());
        // A file that is mapped twice at once would count twice as memory.
        drop(weights);
        // The files may be gone or cut short by now: that is no matter of the load.
        if let Ok(weights) = input.with_source(printer, open)
            && weights.populate().is_ok()
        {
            report.note_bound(read_mapped(&weights).as_secs_f64());
        }
    }
    report.peak_rss = peak_rss();
    printer.report(&report, || human(args, input, last, &report))?;
    Ok(ExitCode::SUCCESS)
}

fn human(args: &Load, input: &Input, outcome: Option<LoadOutcome>, report: &Report) -> Lines {
    let how = match outcome {
        Some(outcome) if outcome.mapped_bytes == 0 => "copied once",
        Some(outcome) if outcome.copied_bytes == 0 => "mapped and not copied",
        _ => "mapped in part",
    };
    let mut text = report.heading(&input.name(), &format!("as MLX arrays, {how}"));
    report.timings(&mut text, args);
    report.chunks(&mut text);
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
        LoadError::Convert { .. } => Advice::input(error.to_string())
            .hint("without --dtype it is loaded as it is; --select chooses the others")
            .into(),
        // Faults of the input were found before: this is the machine, or MLX.
        error => Advice::failure(text(&error)).into(),
    }
}

/// Measures the time to copy every byte of the tensors from its map into a buffer that stays in a core's cache, with a thread for
/// each core. No loader that reads its data can be faster. Pages are mapped before the clock runs, as those of a file are that was just
/// loaded from its mapping.
fn read_mapped(weights: &Weights) -> Duration {
    /// Bytes of such a buffer.
    const CHUNK: usize = 256 << 10;
    /// The least that a page has.
    const PAGE: usize = 4096;
    let shares = shares(weights);
    debug_assert_eq!(
        shares.iter().map(|share| share.len() as u64).sum::<u64>(),
        weights.bytes(),
        "BUG: not all is read"
    );
    on_all_cores(&shares, |share| {
        for byte in share.iter().step_by(PAGE) {
            black_box(*byte);
        }
    });
    let started = Instant::now();
    on_all_cores(&shares, |share| {
        let mut buffer = vec![0; CHUNK];
        for chunk in share.chunks(CHUNK) {
            buffer[..chunk.len()].copy_from_slice(chunk);
            black_box(&mut buffer);
        }
    });
    started.elapsed()
}

/// The bytes of all tensors and companions, in shares that one thread takes at a time.
fn shares(weights: &Weights) -> Vec<&[u8]> {
    const SHARE: usize = 16 << 20;
    let roles = [Role::Weight, Role::Scale, Role::Bias, Role::GlobalScale];
    let parts = weights.iter().flat_map(|tensor| roles.into_iter().filter_map(move |role| tensor.companion(role)));
    parts.flat_map(|part| part.data.chunks(SHARE)).collect()
}

fn on_all_cores(shares: &[&[u8]], work: impl Fn(&[u8]) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(share) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(share);
        }
    };
    thread::scope(|scope| {
        for _ in 1..thread::available_parallelism().map_or(1, NonZero::get) {
            // Without it the others do its work.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
}
