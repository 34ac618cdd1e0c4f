//! `load --device host`: mapped, beside a plain loop over the same files.

use std::{
    hint::black_box,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use longshore_manifest::{
    open_regular,
    weights::{OpenOptions, Weights, plan::Selection},
};
use memmap2::Mmap;

use super::{
    Input,
    refusals::{corrupt, opening},
    report::{Report, peak_rss},
};
use crate::{
    args::{load::Load, types::dtype},
    format::{plural, size},
    lines::Lines,
    printer::Printer,
    progress::Bar,
};

/// The most files that are mapped at once: the system lets a process have a little over twice as many.
const MAPS: usize = 30_000;

pub(super) fn run(args: &Load, input: &Input, selection: &Selection, printer: &Printer) -> anyhow::Result<ExitCode> {
    let mut report = Report::new("host", "open, map, touch a page of each blob, 1 thread");
    let bar = Bar::new(printer);
    let options = OpenOptions {
        selection: selection.clone(),
        dtype: args.dtype.map(dtype),
        decode: args.dtype.is_some(),
        progress: &bar,
        ..OpenOptions::default()
    };
    let mut layers = 0;
    input.with_source(printer, |source| {
        Input::notes(source, printer);
        report.notes = source.notes().to_vec();
        let bytes = Weights::made_bytes_of(source, &options).map_err(|error| opening(error, args, input))?;
        if bytes > 0 {
            printer.note(&format!("takes {} of memory for copies and conversions", size(bytes)));
        }
        Ok(())
    })?;
    for _ in 0..args.repeat.get() {
        let started = Instant::now();
        let open = |source: &_| Weights::open_source(source, &options).map_err(|error| opening(error, args, input));
        let weights = black_box(input.with_source(printer, open)?);
        if args.verify {
            let verified = weights.verify(&bar).map_err(|error| corrupt(error, &input.name()))?;
            report.verified = Some(verified.into());
        }
        report.seconds.push(started.elapsed().as_secs_f64());
        (report.tensors, report.bytes) = (weights.len(), weights.bytes());
        // The clone keeps files in memory alive until they are measured.
        let source = weights.source().clone();
        layers = if source.is_stored() {
            source.table().blobs.len() + source.companions()?.len()
        } else {
            weights.digests().count()
        };
        let blobs: Vec<_> = weights.digests().map(|digest| source.path(&digest)).collect();
        report.read_bytes = Some(weights.read_bytes()).filter(|bytes| *bytes > 0);
        report.made_bytes = Some(weights.made_bytes()).filter(|bytes| *bytes > 0);
        drop(weights);
        // The files may be gone by now: that is no matter of the load.
        if let Ok(least) = plain_loop(&blobs) {
            report.note_bound(least.as_secs_f64());
        }
    }
    drop(bar);
    report.peak_rss = peak_rss();
    printer.report(&report, || human(args, input, layers, &report))?;
    Ok(ExitCode::SUCCESS)
}

fn human(args: &Load, input: &Input, layers: usize, report: &Report) -> Lines {
    let mut but = Vec::new();
    if let Some(made) = report.made_bytes {
        but.push(format!("{} of copies and conversions", size(made)));
    }
    if let Some(read) = report.read_bytes {
        but.push(format!("{} of small blobs, which were read", size(read)));
    }
    let mut place = "on the host, mapped and not copied".to_owned();
    if !but.is_empty() {
        place = format!("{place} but for {}", but.join(" and "));
    }
    let mut text = report.heading(&input.name(), &place);
    report.timings(&mut text, args);
    report.chunks(&mut text);
    let layers = match input {
        Input::Stored { .. } => plural(layers, "layer"),
        Input::Files(_) => plural(layers, "file"),
    };
    report.memory(&mut text, &format!(", tables of {layers} included"));
    text
}

/// Measures the least work that any loader does for these files: to open each, query its size, map it and touch its first page, on one
/// thread. No header is read, so that [`longshore_st_format::open`] would measure more than that.
fn plain_loop(paths: &[PathBuf]) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut maps = Vec::with_capacity(paths.len());
    for path in paths {
        if maps.len() == MAPS {
            touch(&maps)?;
            maps.clear();
        }
        maps.push(map(path).with_context(|| format!("cannot map {}", path.display()))?);
    }
    touch(&maps)?;
    let took = started.elapsed();
    drop(maps);
    Ok(took)
}

/// Touches the first page of each. Where the system can say that one is not to be had, it is an error and not a signal.
fn touch(maps: &[Mmap]) -> io::Result<()> {
    for map in maps {
        #[cfg(target_os = "linux")]
        match map.advise_range(memmap2::Advice::PopulateRead, 0, map.len().min(1)) {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
            _ => {}
        }
        black_box(map.first());
    }
    Ok(())
}

/// Asks for the size, too.
#[expect(unsafe_code, reason = "mapping a file is unsafe")]
fn map(path: &Path) -> io::Result<Mmap> {
    let file = open_regular(path)?;
    // SAFETY: a blob of the store has mode 0444 and is never written again once it has its name: it is replaced by a rename or deleted,
    // and both leave the mapped file as it is. Programs that share the layout do the same.
    unsafe { Mmap::map(&file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_loop_maps_files_and_names_the_one_that_it_cannot() {
        let dir = tempfile::tempdir().expect("there is room");
        let paths = ["a", "b", "missing"].map(|name| dir.path().join(name));
        for path in &paths[..2] {
            std::fs::write(path, [1; 5000]).expect("there is room");
        }
        plain_loop(&paths[..2]).expect("they can be mapped");
        let error = plain_loop(&paths).expect_err("one is missing");
        assert_eq!(error.to_string(), format!("cannot map {}", paths[2].display()));
    }
}
