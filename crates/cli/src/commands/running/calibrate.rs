//! `calibrate NAME --text FILE OUT`: statistics of what weights are multiplied by.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

use longshore_manifest::{
    Digest, Progress as _, Store, Weights,
    weights::{OpenOptions, Source, plan::Selection},
};
use longshore_run::{
    CalibrateError, CalibrateOptions, KvLoss, KvProgress, Model, Precision, Windows, calibrate, kv_losses,
    text::Tokenizer,
};
use serde::Serialize;

use super::{
    engine, read,
    refusals::{running, tokenizing},
};
use crate::{
    advice::Advice,
    args::{running::Calibrate, target::Target},
    door, errors,
    format::plural,
    lines::Lines,
    printer::{Printer, VERSION},
    progress::Bar,
    table::{Align, table},
};

/// Tokens of a window, at most.
const WINDOW: usize = 512;

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    model: &'a str,
    out: String,
    tokens: usize,
    weights: usize,
    hessians: usize,
    passes: usize,
}

pub(in crate::commands) fn run(
    args: &Calibrate,
    store: impl Fn() -> anyhow::Result<Store>,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    if let Some(out) = args.out.as_ref().filter(|out| out.exists()) {
        return Err(Advice::failure(format!("{} exists: expected a new file", door::path(out))).into());
    }
    let text = read::file(&args.text)?;
    let model = engine::open(&args.model, &args.engine, Precision::Exact, &store, printer)?;
    let tokenizer = Tokenizer::open(model.source()).map_err(tokenizing)?;
    let tokens = tokenizer.encode(&text).map_err(tokenizing)?;
    let window = WINDOW.min(model.max_sequence());
    let windows = Windows { tokens: &tokens, bos: tokenizer.start().first().copied(), size: window };
    if windows.count() == 0 {
        let (path, found) = (door::path(&args.text), plural(tokens.len(), "token"));
        return Err(Advice::input(format!("{path} has {found}, expected a window of {window} at least")).into());
    }
    let out = match (args.kv_rank, &args.out) {
        (Some(rank), _) => return low_rank(&model, windows, rank.get(), printer),
        (None, Some(out)) => out,
        (None, None) => unreachable!("BUG: the parser asks for one of them"),
    };
    let chosen = args.layers.as_deref().map(|pattern| matching(&model, pattern)).transpose()?;
    let is_chosen = |name: &str| chosen.as_ref().is_none_or(|names| names.contains(name));
    let mut options = CalibrateOptions { hessians: args.hessians, layers: Some(&is_chosen), ..Default::default() };
    if let Some(memory) = args.memory {
        options.memory = usize::try_from(memory).unwrap_or(usize::MAX);
    }
    let done = {
        let bar = Bar::of_tokens(printer);
        bar.begin("calibrating", 1);
        let metadata = metadata(args, &text, model.source(), &store)?;
        let mut show = |done, all| bar.show(done, all);
        calibrate(&model, windows, &options, &metadata, out, &mut show).map_err(refused)?
    };
    let report = Report {
        version: VERSION,
        model: model.name(),
        out: door::path(out),
        tokens: done.tokens,
        weights: done.weights,
        hessians: done.hessians,
        passes: done.passes,
    };
    printer.report(&report, || {
        let hessians = match done.hessians {
            0 => String::new(),
            count => format!(", {}", plural(count, "Hessian")),
        };
        let passes = if done.passes == 1 { "1 pass".to_owned() } else { format!("{} passes", done.passes) };
        Lines::of(&format!(
            "{}: statistics of {}{hessians}, of {} in {passes}",
            door::path(out),
            plural(done.weights, "weight"),
            plural(done.tokens, "token"),
        ))
    })?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct LowRank<'a> {
    version: u32,
    model: &'a str,
    tokens: usize,
    rank: usize,
    layers: Vec<LayerLoss>,
}

#[derive(Serialize)]
struct LayerLoss {
    layer: usize,
    full_rank: usize,
    plain: f64,
    weighted: f64,
}

/// Reports what keys and values of a rank lose.
fn low_rank(model: &Model, windows: Windows<'_>, rank: usize, printer: &Printer) -> anyhow::Result<ExitCode> {
    let losses = {
        let bar = Bar::of_tokens(printer);
        bar.begin("calibrating", 1);
        let memory = CalibrateOptions::default().memory;
        let mut show = |progress| match progress {
            KvProgress::Layers { done, all } => bar.at(&format!("layer {done} of {all}")),
            KvProgress::Tokens { done, all } => {
                bar.at("calibrating");
                bar.show(done, all);
            }
            _ => {}
        };
        kv_losses(model, windows, rank, memory, &mut show).map_err(|error| match error {
            CalibrateError::Memory { .. } => Advice::failure(errors::text(&error))
                .hint("--kv-rank needs the products of one layer's inputs in memory, which no option makes smaller")
                .into(),
            error => refused(error),
        })?
    };
    let layer = |loss: &KvLoss| LayerLoss {
        layer: loss.layer,
        full_rank: loss.full,
        plain: loss.plain,
        weighted: loss.weighted,
    };
    let report = LowRank {
        version: VERSION,
        model: model.name(),
        tokens: windows.count() * windows.size,
        rank,
        layers: losses.iter().map(layer).collect(),
    };
    printer.report(&report, || {
        let columns = ["LAYER", "FULL RANK", "PLAIN", "WEIGHTED"].map(|name| (name, Align::Right));
        let row = |layer: &LayerLoss| {
            let losses = [layer.plain, layer.weighted].map(|loss| format!("{loss:.4}"));
            [vec![layer.layer.to_string(), layer.full_rank.to_string()], losses.to_vec()].concat()
        };
        let mut lines = table(&columns, &report.layers.iter().map(row).collect::<Vec<_>>(), printer.columns());
        lines.line(&format!(
            "errors of keys and values of rank {rank} over their norm, of {}: by the weights alone, and by their inputs",
            plural(report.tokens, "token"),
        ));
        lines
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Names of the tensors that a glob matches.
fn matching(model: &Model, pattern: &str) -> anyhow::Result<BTreeSet<String>> {
    let selection = Selection { globs: vec![pattern.to_owned()], ..Selection::default() };
    let options = OpenOptions { selection, ..OpenOptions::default() };
    let weights = Weights::open_source(model.source(), &options).map_err(|error| {
        Advice::input(format!("--layers: {}", errors::text(&error))).hint("quote the pattern: --layers '*.0.*'")
    })?;
    Ok(weights.names().map(str::to_owned).collect())
}

/// Metadata of the file, each as JSON: the model that ran, by its digest, the seed of its rotation, the factors of its columns, and the text.
fn metadata(
    args: &Calibrate,
    text: &str,
    source: &Source,
    store: &impl Fn() -> anyhow::Result<Store>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let text = Digest::of(text.as_bytes()).to_string();
    let text = text.strip_prefix("sha256:").unwrap_or(&text);
    let mut metadata = BTreeMap::from([("text_sha256".to_owned(), serde_json::to_string(text)?)]);
    // Files outside of a store have no digest, and do not say whether they were rotated before they were exported.
    if let Target::Name(name) = &args.model {
        metadata.insert("model".to_owned(), serde_json::to_string(&store()?.model(name)?.digest.to_string())?);
        let rotated = source.rotation().map_or_else(|| false.to_string(), |rotation| rotation.seed.to_string());
        metadata.insert("rotated".to_owned(), rotated);
        let awq = source.changes().and_then(|changes| changes.awq);
        metadata.insert("awq".to_owned(), serde_json::to_string(&awq)?);
    }
    Ok(metadata)
}

fn refused(error: CalibrateError) -> anyhow::Error {
    match error {
        CalibrateError::Run(error) => running(error),
        CalibrateError::Write { .. } => Advice::failure(errors::text(&error)).into(),
        CalibrateError::Memory { .. } => {
            Advice::failure(errors::text(&error)).hint("--memory SIZE allows more, and --layers GLOB needs less").into()
        }
        error => Advice::input(errors::text(&error)).into(),
    }
}
