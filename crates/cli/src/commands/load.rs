//! `load NAME`: into memory, and how fast that was.

use std::{fmt::Write as _, hint::black_box, process::ExitCode, time::Instant};

use globset::{Glob, GlobSet, GlobSetBuilder};
use longshore_manifest::{
    ModelName, Store,
    store::Model,
    weights::{CorruptError, OpenOptions, Weights, plain_loop},
};
use serde::Serialize;

use super::{VERSION, load_cuda, load_mlx};
use crate::{
    advice::Advice,
    args::{Device, Load},
    format::{plural, seconds, size, three_digits, to_f64},
    printer::Printer,
    progress::Bar,
};

/// What to do about a pattern that is none.
pub(super) const QUOTE: &str = "quote the pattern: --select '*.self_attn.*'";

#[derive(Serialize)]
pub(super) struct Report {
    version: u32,
    device: &'static str,
    pub(super) tensors: usize,
    pub(super) bytes: u64,
    pub(super) seconds: Vec<f64>,
    pub(super) limit: Limit,
    /// In bytes; absent where the platform does not say.
    pub(super) peak_rss: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Limit {
    pub(super) what: &'static str,
    pub(super) gb_per_s: f64,
    pub(super) seconds: f64,
}

impl Report {
    pub(super) fn new(device: &'static str, limit: Limit) -> Self {
        Self { version: VERSION, device, tensors: 0, bytes: 0, seconds: Vec::new(), limit, peak_rss: None }
    }
}

pub(super) fn run(args: &Load, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let model = store.model(&args.name)?;
    match args.device {
        Device::Host if args.dtype.is_some() => {
            return Err(Advice::failure("--dtype converts values, and --device host maps them as they are stored")
                .hint("--device mlx and --device cuda convert")
                .into());
        }
        Device::Host | Device::Mlx => {}
        Device::Cuda(ordinal) => return load_cuda::run(args, ordinal, store, &model, printer),
    }
    let globs = globs(&args.select)?;
    let select = |name: &str| globs.is_match(name);
    let mut options = OpenOptions::default();
    options.component.clone_from(&args.component);
    if !args.select.is_empty() {
        options.select = Some(&select);
    }
    if args.device == Device::Mlx {
        return load_mlx::run(args, store, &model, &options, printer);
    }
    let what = "open, map, touch a page of each blob, 1 thread";
    let mut report = Report::new("host", Limit { what, gb_per_s: 0.0, seconds: f64::MAX });
    for _ in 0..args.repeat.get() {
        let started = Instant::now();
        let weights = black_box(Weights::open(store, &store.model(&args.name)?, &options)?);
        if args.verify {
            weights.verify(&Bar::new(printer)).map_err(|error| corrupt(error, &args.name))?;
        }
        report.seconds.push(started.elapsed().as_secs_f64());
        report.tensors = weights.len();
        report.bytes = weights.bytes();
        if weights.is_empty() {
            return Err(no_match(args));
        }
        let blobs: Vec<_> = weights.digests().map(|digest| store.blob_path(&digest)).collect();
        drop(weights);
        report.limit.seconds = report.limit.seconds.min(plain_loop(&blobs)?.as_secs_f64());
    }
    report.limit.gb_per_s = rate(report.bytes, report.limit.seconds);
    report.peak_rss = peak_rss();
    printer.report(&report, || human(args, &model, &report))?;
    Ok(ExitCode::SUCCESS)
}

fn human(args: &Load, model: &Model, report: &Report) -> String {
    let mut text = format!(
        "{}: {}, {} on the host, mapped and not copied\n",
        args.name,
        plural(report.tensors, "tensor"),
        size(report.bytes)
    );
    timings(&mut text, args, report);
    if let Some(peak) = report.peak_rss {
        let _ = writeln!(
            text,
            "  peak memory {}, tables of {} included",
            size(peak),
            plural(model.manifest.layers.len(), "layer")
        );
    }
    text
}

/// How long it took each time, and the limit beside it.
pub(super) fn timings(text: &mut String, args: &Load, report: &Report) {
    let loaded = if args.verify { "loaded and verified" } else { "loaded" };
    for time in &report.seconds {
        let _ = writeln!(text, "  {loaded} in {} ({} GB/s)", seconds(*time), three_digits(rate(report.bytes, *time)));
    }
    let _ = writeln!(
        text,
        "  limit     {} ({} GB/s): {}",
        seconds(report.limit.seconds),
        three_digits(report.limit.gb_per_s),
        report.limit.what
    );
}

/// Says what can be done about it.
pub(super) fn corrupt(error: CorruptError, name: &ModelName) -> anyhow::Error {
    match error {
        CorruptError::Blob { .. } => Advice::input(error.to_string())
            .hint(format!("longshore verify {name} --repair SOURCE builds it again from what was imported"))
            .into(),
        _ => error.into(),
    }
}

pub(super) fn no_match(args: &Load) -> anyhow::Error {
    let advice = Advice::input(format!("no tensor of {} matches", args.name));
    let advice = match args.select.iter().find_map(|pattern| pattern.split_once('/')) {
        // `show` puts the component before a name.
        Some((component, rest)) => advice.hint(format!(
            "names have no component here: --component {component} --select '{}'",
            if rest.is_empty() { "*" } else { rest }
        )),
        None => advice,
    };
    advice.hint(format!("longshore show {} --tensors lists the names", args.name)).into()
}

fn globs(patterns: &[String]) -> anyhow::Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = Glob::new(pattern).map_err(|error| Advice::failure(error.to_string()).hint(QUOTE))?;
        set.add(glob);
    }
    Ok(set.build()?)
}

pub(super) fn rate(bytes: u64, seconds: f64) -> f64 {
    to_f64(bytes) / 1e9 / seconds.max(1e-9)
}

/// The most memory that the process has held at once, mapped pages that were touched included, in bytes.
pub(super) fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
