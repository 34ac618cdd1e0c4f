//! `load NAME --device cuda`: onto a device, and how fast that was beside the link.

use std::{fmt::Write as _, process::ExitCode, time::Instant};

use longshore_loader_cuda::{CallError, CudaError, Device, LoadOptions, LoadReport, Loader, LoaderOptions, ProbeError};
use longshore_manifest::{
    Store,
    store::Model,
    weights::plan::{PlanError, Selection},
};
use longshore_quant::FloatType;
use longshore_st_format::Dtype;
use serde::Serialize;

use super::{
    VERSION,
    load::{QUOTE, no_match, peak_rss, rate},
};
use crate::{
    advice::Advice,
    args::Load,
    format::{plural, seconds, size, three_digits},
    printer::Printer,
    progress::Bar,
};

#[derive(Serialize)]
struct Report {
    version: u32,
    device: String,
    tensors: usize,
    bytes: u64,
    /// One per repeat. The first makes the ring of pinned memory too.
    seconds: Vec<f64>,
    /// The median of all but the first; absent where there is no other.
    steady_seconds: Option<f64>,
    /// To find the driver and make the device's context, which no load counts.
    context_seconds: f64,
    limit: Limit,
    /// Of the first load; absent where all was in the page cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    cold: Option<Cold>,
    /// Of the last load; absent without `--verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<Verified>,
    /// In bytes; absent where the platform does not say.
    peak_rss: Option<u64>,
    #[serde(skip)]
    device_name: String,
}

#[derive(Serialize)]
struct Limit {
    what: &'static str,
    gb_per_s: f64,
}

/// What was read past the page cache.
#[derive(Serialize)]
struct Cold {
    bytes: u64,
    /// Of those, what was read many reads at once; the others a read at a time.
    io_uring_bytes: u64,
}

#[derive(Serialize)]
struct Verified {
    blobs: usize,
    /// Blobs of which only a part was wanted, so that they could not be checked.
    partly_read: usize,
}

pub(super) fn run(
    args: &Load,
    ordinal: u32,
    store: &Store,
    model: &Model,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let device = Device::open(ordinal).map_err(advise)?;
    let context_seconds = started.elapsed().as_secs_f64();
    let mut report = Report {
        version: VERSION,
        device: format!("cuda:{ordinal}"),
        tensors: 0,
        bytes: 0,
        seconds: Vec::new(),
        steady_seconds: None,
        context_seconds,
        limit: Limit { what: "pinned memory copied to the device, on the same streams", gb_per_s: 0.0 },
        cold: None,
        verified: None,
        peak_rss: None,
        device_name: device.name().map_err(|error| driver_error(&error))?,
    };

    let mut selection = Selection::default();
    selection.component.clone_from(&args.component);
    selection.globs.clone_from(&args.select);
    let bar = Bar::new(printer);
    let mut options = LoadOptions::default();
    options.dtype = args.dtype.map(dtype);
    options.verify = args.verify;
    options.progress = &bar;
    let mut loader = None;
    for _ in 0..args.repeat.get() {
        let started = Instant::now();
        let loader = match &loader {
            Some(loader) => loader,
            None => &*loader.insert(Loader::new(&device, &LoaderOptions::default()).map_err(advise)?),
        };
        let weights = loader.load(store, model, &selection, &options).map_err(advise)?;
        report.seconds.push(started.elapsed().as_secs_f64());
        if weights.is_empty() {
            return Err(no_match(args));
        }
        let LoadReport { tensors, bytes, verified_blobs, partly_read_blobs, direct_bytes, ring_bytes, .. } =
            *weights.report();
        if report.seconds.len() == 1 && direct_bytes > 0 {
            report.cold = Some(Cold { bytes: direct_bytes, io_uring_bytes: ring_bytes });
        }
        (report.tensors, report.bytes) = (tensors, bytes);
        report.verified = args.verify.then_some(Verified { blobs: verified_blobs, partly_read: partly_read_blobs });
        // Before the next, which would share what is on the device.
        weights.release().map_err(|error| driver_error(&error))?;
    }
    drop(bar);
    if let Some(loader) = loader {
        let enough = report.bytes.clamp(64 << 20, 4 << 30);
        report.limit.gb_per_s = loader.limit(enough).map_err(|error| driver_error(&error.source))? / 1e9;
    }
    report.steady_seconds = median(&report.seconds[1..]);
    report.peak_rss = peak_rss();
    printer.report(&report, || human(args, &report))?;
    Ok(ExitCode::SUCCESS)
}

fn human(args: &Load, report: &Report) -> String {
    let mut text = format!(
        "{}: {}, {} on {} ({})\n",
        args.name,
        plural(report.tensors, "tensor"),
        size(report.bytes),
        report.device,
        report.device_name
    );
    let line = |time: f64| {
        let found = rate(report.bytes, time);
        let share = three_digits(found / report.limit.gb_per_s.max(1e-9));
        format!("{} ({} GB/s, {share} of the limit)", seconds(time), three_digits(found))
    };
    let _ = writeln!(text, "  context   {}, counted with no load", seconds(report.context_seconds));
    if let Some(first) = report.seconds.first() {
        let _ = writeln!(text, "  first     {}, pinned memory made", line(*first));
    }
    if let Some(steady) = report.steady_seconds {
        let _ = writeln!(text, "  steady    {}, the median of {}", line(steady), report.seconds.len() - 1);
    }
    let _ = writeln!(text, "  limit     {} GB/s: {}", three_digits(report.limit.gb_per_s), report.limit.what);
    if let Some(Cold { bytes, io_uring_bytes }) = &report.cold {
        let how = if *io_uring_bytes > 0 { "by io_uring" } else { "by pread" };
        let _ = writeln!(text, "  cold      {} of the first read past the page cache, {how}", size(*bytes));
    }
    if let Some(Verified { blobs, partly_read }) = &report.verified {
        let _ = write!(text, "  verified  {}", plural(*blobs, "blob"));
        if *partly_read > 0 {
            let _ = write!(text, "; {} read in part and not verified", plural(*partly_read, "blob"));
        }
        text.push('\n');
    }
    if let Some(peak) = report.peak_rss {
        let _ = writeln!(text, "  peak memory {}", size(peak));
    }
    text
}

fn dtype(float: FloatType) -> Dtype {
    match float {
        FloatType::F32 => Dtype::F32,
        FloatType::F16 => Dtype::F16,
        FloatType::BF16 => Dtype::BF16,
    }
}

fn median(times: &[f64]) -> Option<f64> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn driver_error(error: &CallError) -> anyhow::Error {
    Advice::failure(format!("the device failed: {error}")).into()
}

/// Says whose fault an error is, and what to do about it.
fn advise(error: CudaError) -> anyhow::Error {
    const HOST: &str = "--device host loads into host memory";
    match &error {
        CudaError::Probe(ProbeError::Ordinal { devices, .. }) => {
            let last = devices.saturating_sub(1);
            let hint = if last == 0 {
                "cuda:0 is the only one".to_owned()
            } else {
                format!("cuda:0 to cuda:{last} are there")
            };
            Advice::failure(error.to_string()).hint(hint).into()
        }
        CudaError::Probe(ProbeError::TooOld { .. } | ProbeError::MissingSymbol { .. }) => {
            Advice::failure(error.to_string()).hint("install a later driver from NVIDIA").hint(HOST).into()
        }
        CudaError::Probe(_) | CudaError::Setup { .. } => Advice::failure(crate::errors::text(&error)).hint(HOST).into(),
        CudaError::Allocate { .. } => Advice::failure(crate::errors::text(&error))
            .hint("--select GLOB loads some of the tensors; other processes may hold memory of the device")
            .into(),
        CudaError::Copy { .. } => Advice::failure(crate::errors::text(&error)).into(),
        CudaError::Plan(PlanError::Glob { .. }) => Advice::failure(error.to_string()).hint(QUOTE).into(),
        CudaError::Digest { .. } | CudaError::Short { .. } => {
            Advice::input(error.to_string()).hint("longshore verify says what is damaged").into()
        }
        _ => error.into(),
    }
}
