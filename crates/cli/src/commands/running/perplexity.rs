//! `perplexity NAME… --text FILE`: how well models predict a text.

use std::process::ExitCode;

use longshore_manifest::{Progress as _, Store};
use longshore_run::{Measured, Model, Precision, Quality, RunError, Windows, perplexity, text::Tokenizer};
use serde::Serialize;

use super::{
    engine, read,
    refusals::{running, tokenizing},
};
use crate::{
    advice::Advice,
    args::running::Perplexity,
    door,
    format::plural,
    lines::Lines,
    printer::{Printer, VERSION},
    progress::Bar,
    table::{Align, table},
};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    /// Tokens that were scored of the first model's.
    tokens: usize,
    window: usize,
    path: &'static str,
    models: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    perplexity: f64,
    /// Against the first model; null where the vocabularies differ.
    kl: Option<f64>,
    top1: Option<f64>,
    delta_nll: Option<f64>,
    /// Null, too, where there is one window only.
    delta_standard_error: Option<f64>,
    bits_per_weight: f64,
    fast: Option<Fast>,
    /// Sums over each window, in order.
    windows: Vec<Window>,
}

/// What one window adds to the mean of the negative logarithms.
#[derive(Serialize)]
struct Window {
    nll: f64,
    tokens: usize,
}

/// The fast path, against the exact one of the same model.
#[derive(Serialize)]
struct Fast {
    perplexity: f64,
    kl: f64,
    top1: f64,
}

/// A model with the text in its tokens.
struct Prepared {
    model: Model,
    /// The same model on the fast path, where both are asked for.
    fast: Option<Model>,
    tokens: Vec<u32>,
    bos: Option<u32>,
}

impl Prepared {
    fn windows(&self, size: usize) -> Windows<'_> {
        Windows { tokens: &self.tokens, bos: self.bos, size }
    }
}

pub(in crate::commands) fn run(
    args: &Perplexity,
    store: impl Fn() -> anyhow::Result<Store>,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let text = read::file(&args.text)?;
    let prepare = |target| prepare(target, args, &text, &store, printer);
    let models = args.models.iter().map(prepare).collect::<anyhow::Result<Vec<_>>>()?;
    for model in &models {
        check(model, args)?;
    }
    let window = args.window.get();
    let exact = models.iter().map(|one| Measured { model: &one.model, windows: one.windows(window), against: Some(0) });
    let fast = models.iter().enumerate().filter_map(|(at, one)| {
        Some(Measured { model: one.fast.as_ref()?, windows: one.windows(window), against: Some(at) })
    });
    let measured: Vec<_> = exact.chain(fast).collect();
    let found = {
        let bar = Bar::of_tokens(printer);
        bar.begin("measuring", 1);
        perplexity(&measured, &mut |done, all| bar.show(done, all)).map_err(running)?
    };
    let (exact, fast) = found.split_at(models.len());
    let entries = models.iter().zip(exact).enumerate().map(|(at, (one, quality))| entry(one, quality, fast.get(at)));
    let path = match (args.both, engine::precision(&args.engine, Precision::Exact)) {
        (true, _) => "both",
        (false, Precision::Fast) => "fast",
        (false, Precision::Exact) => "exact",
    };
    let tokens = exact.first().map_or(0, |quality| quality.tokens);
    let report = Report { version: VERSION, tokens, window, path, models: entries.collect() };
    printer.report(&report, || human(&report, exact, printer))?;
    Ok(ExitCode::SUCCESS)
}

fn prepare(
    asked: &crate::args::target::Runnable,
    args: &Perplexity,
    text: &str,
    store: &impl Fn() -> anyhow::Result<Store>,
    printer: &Printer,
) -> anyhow::Result<Prepared> {
    let target = engine::here(asked, store, printer)?;
    let model = engine::open(&target, &args.engine, Precision::Exact, store, printer)?;
    let fast = if args.both {
        let opened = Model::open(model.source().clone(), engine::options(&args.engine, Precision::Fast));
        Some(opened.map_err(|error| Advice::input(crate::errors::text(&error)))?)
    } else {
        None
    };
    let tokenizer = Tokenizer::open(model.source()).map_err(tokenizing)?;
    let tokens = tokenizer.encode(text).map_err(tokenizing)?;
    let bos = tokenizer.start().first().copied();
    Ok(Prepared { model, fast, tokens, bos })
}

/// Refuses a text that fills no window, and windows that are longer than a model's context.
fn check(one: &Prepared, args: &Perplexity) -> anyhow::Result<()> {
    let (window, limit) = (args.window.get(), one.model.max_sequence());
    if window < 2 {
        return Err(
            Advice::failure("--window: expected two tokens at least, as the first of a window is not scored").into()
        );
    }
    if window > limit {
        let error = RunError::TooLong { found: window, limit };
        return Err(Advice::input(format!("{}: {error}", one.model.name()))
            .hint(format!("--window {limit} measures windows that the model reads"))
            .into());
    }
    if one.windows(window).count() > 0 {
        return Ok(());
    }
    let (path, tokens) = (door::path(&args.text), one.tokens.len());
    Err(Advice::input(format!("{path} has {}, expected a window of {window} at least", plural(tokens, "token")))
        .hint("a longer text, or a smaller --window")
        .into())
}

fn entry<'a>(one: &'a Prepared, quality: &Quality, fast: Option<&Quality>) -> Entry<'a> {
    let compared = quality.comparison.as_ref();
    let fast = fast.and_then(|fast| {
        let compared = fast.comparison.as_ref()?;
        Some(Fast { perplexity: fast.perplexity, kl: compared.kl, top1: compared.top1 })
    });
    Entry {
        name: one.model.name(),
        perplexity: quality.perplexity,
        kl: compared.map(|compared| compared.kl),
        top1: compared.map(|compared| compared.top1),
        delta_nll: compared.map(|compared| compared.delta_nll),
        delta_standard_error: compared.map(|compared| compared.delta_standard_error).filter(|error| error.is_finite()),
        bits_per_weight: one.model.bits_per_weight(),
        fast,
        windows: quality.windows.iter().map(|window| Window { nll: window.nll, tokens: window.tokens }).collect(),
    }
}

fn human(report: &Report<'_>, exact: &[Quality], printer: &Printer) -> Lines {
    let mut columns = vec![
        ("MODEL", Align::Left),
        ("BITS/WEIGHT", Align::Right),
        ("PERPLEXITY", Align::Right),
        ("KL", Align::Right),
        ("TOP-1", Align::Right),
        ("ΔNLL", Align::Right),
    ];
    if report.path == "both" {
        columns.extend([("FAST", Align::Right), ("FAST KL", Align::Right), ("FAST TOP-1", Align::Right)]);
    }
    let maybe = |number: Option<f64>, show: fn(f64) -> String| number.map_or_else(|| "–".to_owned(), show);
    let rows: Vec<Vec<String>> = report
        .models
        .iter()
        .enumerate()
        .map(|(at, one)| {
            // The first has nothing before it to be compared with.
            let compared = |number: Option<f64>| number.filter(|_| at > 0);
            let mut row = vec![
                one.name.to_owned(),
                format!("{:.2}", one.bits_per_weight),
                format!("{:.4}", one.perplexity),
                maybe(compared(one.kl), |kl| format!("{kl:.5}")),
                maybe(compared(one.top1), percent),
                match (compared(one.delta_nll), one.delta_standard_error) {
                    (Some(delta), Some(error)) => format!("{delta:+.4} ± {error:.4}"),
                    (Some(delta), None) => format!("{delta:+.4}"),
                    _ => "–".to_owned(),
                },
            ];
            if report.path == "both" {
                let fast = one.fast.as_ref();
                row.push(maybe(fast.map(|fast| fast.perplexity), |found| format!("{found:.4}")));
                row.push(maybe(fast.map(|fast| fast.kl), |kl| format!("{kl:.5}")));
                row.push(maybe(fast.map(|fast| fast.top1), percent));
            }
            row
        })
        .collect();
    let mut lines = table(&columns, &rows, printer.columns());
    let windows = exact.first().map_or(0, |quality| quality.windows.len());
    lines.line(&format!(
        "{} scored in {} of {}",
        plural(report.tokens, "token"),
        plural(windows, "window"),
        plural(report.window, "token")
    ));
    lines
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
