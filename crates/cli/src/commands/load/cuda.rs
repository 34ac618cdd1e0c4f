//! `load --device cuda`: onto a device, and how fast that was beside the link.

use std::{process::ExitCode, time::Instant};

use longshore_loader_cuda::{CallError, CudaError, Device, LoadOptions, LoadReport, Loader, LoaderOptions, ProbeError};
use longshore_manifest::weights::{BlockForm, OpenOptions, Weights, plan::Selection};

use super::{
    Input,
    refusals::{opening, selection as refused_selection},
    report::{Cold, Report, Start, Verified, peak_rss, rate},
};
use crate::{
    advice::Advice,
    args::{load::Load, types::dtype},
    errors::text,
    format::{plural, seconds, size, three_digits, to_f64},
    lines::Lines,
    printer::Printer,
    progress::Bar,
};

pub(super) fn run(
    args: &Load,
    ordinal: u32,
    input: &Input,
    selection: &Selection,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let advise = |error| advise(error, args, input);
    let started = Instant::now();
    let device = Device::open(ordinal).map_err(advise)?;
    let context_seconds = started.elapsed().as_secs_f64();
    let name = device.name().map_err(|error| driver_error(&error))?;
    let what = "pinned memory copied to the device, on the same streams";
    let mut report = Report::new(format!("cuda:{ordinal}"), what);

    let bar = Bar::new(printer);
    let options = LoadOptions {
        dtype: args.dtype.map(dtype),
        decode: args.dtype.is_some(),
        verify: args.verify,
        progress: &bar,
        ..Default::default()
    };
    input.with_source(printer, |source| {
        Input::notes(source, printer);
        report.notes = source.notes().to_vec();
        if args.dtype.is_some() {
            let options = OpenOptions {
                selection: selection.clone(),
                dtype: options.dtype,
                decode: options.decode,
                ..Default::default()
            };
            let bytes = Weights::made_bytes_of(source, &options).map_err(|error| opening(error, args, input))?;
            printer.note(&format!("{} of the device's memory is for what is converted", size(bytes)));
        }
        let blocks = OpenOptions {
            selection: selection.clone(),
            dtype: options.dtype,
            decode: options.decode,
            blocks: BlockForm::MlxAlone,
            ..Default::default()
        };
        let bytes = Weights::made_bytes_of(source, &blocks).map_err(|error| opening(error, args, input))?;
        if bytes > 0 {
            printer.note(&format!("takes {} of host memory to convert ggml's blocks", size(bytes)));
        }
        Ok(())
    })?;
    let mut loader = None;
    for left in (0..args.repeat.get()).rev() {
        let started = Instant::now();
        let loader = match &loader {
            Some(loader) => loader,
            None => &*loader.insert(Loader::new(&device, &LoaderOptions::default()).map_err(advise)?),
        };
        let load = |options: &LoadOptions<'_>| {
            input.with_source(printer, |source| loader.load_source(source, selection, options).map_err(advise))
        };
        let weights = load(&options)?;
        report.seconds.push(started.elapsed().as_secs_f64());
        let LoadReport {
            tensors,
            bytes,
            verified_blobs,
            verified_by_chunks,
            partly_read_blobs,
            direct_bytes,
            ring_bytes,
            ..
        } = *weights.report();
        if report.seconds.len() == 1 && direct_bytes > 0 {
            report.cold = Some(Cold { bytes: direct_bytes, io_uring_bytes: ring_bytes });
        }
        (report.tensors, report.bytes) = (tensors, bytes);
        report.verified = args.verify.then_some(Verified {
            blobs: verified_blobs,
            partly_read: partly_read_blobs,
            by_chunks: verified_by_chunks,
        });
        if left == 0 {
            // All of it is on the device and shared, so that nothing is loaded, and no time above has the measuring in it.
            let options = LoadOptions { measure_link: true, decode: false, ..options };
            let shared = load(&options)?;
            let link = shared.report().link.as_ref().expect("it was asked for");
            report.bound.gb_per_s = to_f64(*link.as_ref().map_err(driver_error)?) / 1e9;
        }
        // Before the next, which would share what is on the device.
        weights.release().map_err(|error| driver_error(&error))?;
    }
    drop(bar);
    report.start = Some(Start { steady_seconds: median(&report.seconds[1..]), context_seconds });
    report.peak_rss = peak_rss();
    printer.report(&report, || human(input, &name, &report))?;
    Ok(ExitCode::SUCCESS)
}

fn human(input: &Input, name: &str, report: &Report) -> Lines {
    let mut text = report.heading(&input.name(), &format!("on {} ({name})", report.device));
    let line = |time: f64| {
        let found = rate(report.bytes, time);
        let share = three_digits(found / report.bound.gb_per_s.max(1e-9));
        format!("{} ({} GB/s, {share} of the limit)", seconds(time), three_digits(found))
    };
    if let Some(Start { context_seconds, .. }) = &report.start {
        text.line(&format!("  context   {}, counted with no load", seconds(*context_seconds)));
    }
    if let Some(first) = report.seconds.first() {
        text.line(&format!("  first     {}, pinned memory made", line(*first)));
    }
    if let Some(Start { steady_seconds: Some(steady), .. }) = &report.start {
        text.line(&format!("  steady    {}, the median of {}", line(*steady), report.seconds.len() - 1));
    }
    report.limit(&mut text);
    if let Some(Cold { bytes, io_uring_bytes }) = &report.cold {
        let how = if *io_uring_bytes > 0 { "by io_uring" } else { "by pread" };
        text.line(&format!("  cold      {} of the first read past the page cache, {how}", size(*bytes)));
    }
    if let Some(Verified { blobs, partly_read, by_chunks }) = &report.verified {
        let chunks = match by_chunks {
            0 => String::new(),
            blobs => format!(", {blobs} of them by the digests of their chunks alone"),
        };
        let rest = match partly_read {
            0 => String::new(),
            blobs => format!("; {} read in part and not verified", plural(*blobs, "blob")),
        };
        text.line(&format!("  verified  {}{chunks}{rest}", plural(*blobs, "blob")));
    }
    report.memory(&mut text, "");
    text
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
fn advise(error: CudaError, args: &Load, input: &Input) -> anyhow::Error {
    const HOST: &str = "--device host loads into host memory";
    match &error {
        CudaError::Plan(error) => refused_selection(error, args, input),
        CudaError::Host(_) => Advice::input(text(&error)).into(),
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
        CudaError::Probe(_) | CudaError::Setup { .. } => Advice::failure(text(&error)).hint(HOST).into(),
        CudaError::Allocate { .. } => Advice::failure(text(&error))
            .hint("--select GLOB loads some of the tensors; other processes may hold memory of the device")
            .into(),
        CudaError::Copy { .. } | CudaError::Decode(_) => Advice::failure(text(&error)).into(),
        CudaError::Digest { .. } | CudaError::Chunks { .. } | CudaError::Short { .. } => {
            Advice::input(error.to_string()).hint("longshore verify says what is damaged").into()
        }
        _ => error.into(),
    }
}
