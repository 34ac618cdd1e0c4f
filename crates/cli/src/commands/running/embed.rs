//! `embed NAME [TEXT…|-]`: texts as vectors.

use std::process::ExitCode;

use longshore_manifest::Store;
use longshore_run::{
    Embedder, Precision,
    text::{Tokenizer, TokenizerError, longest_text, pooling},
};
use serde::Serialize;

use super::{
    engine, read,
    refusals::{loading, running, tokenizing},
};
use crate::{
    advice::Advice,
    args::running::{self, Embed},
    lines::Lines,
    printer::{Printer, VERSION},
    signals,
};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    model: &'a str,
    pooling: &'static str,
    embeddings: Vec<Vec<f32>>,
}

pub(in crate::commands) fn run(
    args: &Embed,
    store: impl Fn() -> anyhow::Result<Store>,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let options = engine::options(&args.engine, engine::precision(&args.engine, Precision::Exact));
    let target = engine::here(&args.model, &store, printer)?;
    let embedder = engine::with_source(&target, store, printer, |source, input| {
        Embedder::open(source.clone(), options.clone()).map_err(|error| loading(error, input))
    })?;
    let source = embedder.source();
    let pooling = match args.pooling {
        Some(running::Pooling::Mean) => longshore_run::Pooling::Mean,
        Some(running::Pooling::Cls) => longshore_run::Pooling::Cls,
        Some(running::Pooling::Last) => longshore_run::Pooling::Last,
        None => recommended(&embedder)?,
    };
    let tokenizer = Tokenizer::open(source).map_err(tokenizing)?;
    let limit = longest_text(source).map_err(|error| tokenizing(error.into()))?;
    let limit = limit.map_or(embedder.max_sequence(), |limit| limit.min(embedder.max_sequence()));
    let mut embeddings = Vec::new();
    for (place, text) in texts(args)? {
        if signals::is_asked() {
            return Err(Advice::interrupted("interrupted").into());
        }
        let tokens = tokens(&tokenizer, &text, limit, args.truncate)?;
        if tokens.is_empty() {
            return Err(Advice::input(format!("{place} has no tokens: expected text")).into());
        }
        embeddings.push(embedder.embed(&tokens, pooling).map_err(running)?);
    }
    let pooling = match pooling {
        longshore_run::Pooling::Mean => "mean",
        longshore_run::Pooling::Cls => "cls",
        longshore_run::Pooling::Last => "last",
    };
    let report = Report { version: VERSION, model: source.name(), pooling, embeddings };
    if printer.is_json() {
        printer.report(&report, Lines::new)?;
        return Ok(ExitCode::SUCCESS);
    }
    // A line of numbers may be longer than a line of words.
    for vector in &report.embeddings {
        let numbers: Vec<String> = vector.iter().map(f32::to_string).collect();
        printer.own(&(numbers.join(" ") + "\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How the model pools, by its own files.
fn recommended(embedder: &Embedder) -> anyhow::Result<longshore_run::Pooling> {
    let found = pooling(embedder.source()).map_err(|error| match error {
        longshore_run::text::PoolingError::Document(error) => tokenizing(TokenizerError::Document(error)),
        error => Advice::input(error.to_string()).hint("--pooling mean, cls or last chooses another").into(),
    })?;
    found.ok_or_else(|| {
        let name = embedder.source().name();
        Advice::input(format!("{name} does not say how to pool: expected 1_Pooling/config.json"))
            .hint("--pooling mean is usual for encoders, and --pooling last for decoders")
            .into()
    })
}

/// The texts of the arguments, and of stdin where one is `-` or there are none, each with its place in words.
fn texts(args: &Embed) -> anyhow::Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    let from_stdin = ["-".to_owned()];
    let given = if args.texts.is_empty() { &from_stdin[..] } else { &args.texts };
    for (text, at) in given.iter().zip(1..) {
        if text == "-" {
            let read = read::stdin()?;
            texts.extend(read.lines().zip(1..).map(|(line, at)| (format!("line {at} of stdin"), line.to_owned())));
        } else {
            texts.push((format!("text {at}"), text.clone()));
        }
    }
    Ok(texts)
}

/// Tokens of a text, with those that begin and end one; cut between them where the text is too long and may be cut.
fn tokens(tokenizer: &Tokenizer, text: &str, limit: usize, truncate: bool) -> anyhow::Result<Vec<u32>> {
    let mut tokens = tokenizer.encode_whole(text).map_err(tokenizing)?;
    if tokens.len() <= limit {
        return Ok(tokens);
    }
    let start: String = text.chars().take(40).collect();
    let refuse = || format!("the text {start:?}… has {} tokens, expected at most {limit}", tokens.len());
    let room = limit.checked_sub(tokenizer.end().len()).filter(|_| truncate);
    let Some(room) = room else {
        return Err(Advice::input(refuse()).hint("--truncate cuts it").into());
    };
    tokens.truncate(room);
    tokens.extend(tokenizer.end());
    Ok(tokens)
}
