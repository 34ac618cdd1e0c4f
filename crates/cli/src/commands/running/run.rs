//! `run NAME [PROMPT]`: a model continues a prompt.

use std::process::ExitCode;

use longshore_manifest::Store;
use longshore_run::{
    Model, Precision,
    generate::{Generation, StopReason, generate_stream},
    text::{ChatTemplate, Message},
};
use serde::Serialize;

use super::{
    answer::{Writing, timings},
    engine, read,
    refusals::{generating, no_template, templating, tokenizing},
};
use crate::{
    args::running::Run,
    lines::Lines,
    printer::{Printer, VERSION},
    signals,
};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    model: &'a str,
    text: &'a str,
    tokens: &'a [u32],
    prompt_tokens: usize,
    stop: &'static str,
    seconds: Seconds,
}

#[derive(Serialize)]
struct Seconds {
    first_token: f64,
    prefill: f64,
    decode: f64,
}

pub(in crate::commands) fn run(
    args: &Run,
    store: impl FnOnce() -> anyhow::Result<Store>,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let model = engine::open(&args.model, &args.engine, Precision::Fast, store, printer)?;
    let Writing { tokenizer, options } = Writing::of(&model, &args.generation)?;
    let prompt = match &args.prompt {
        Some(prompt) => prompt.clone(),
        None => read::stdin()?,
    };
    let tokens = if args.chat {
        let template = ChatTemplate::open(model.source()).map_err(templating)?;
        let template = template.ok_or_else(|| no_template(model.name(), "run"))?;
        let text = template.render(&[Message::user(prompt)], true).map_err(templating)?;
        // The template puts BOS itself.
        tokenizer.encode(&text)
    } else {
        tokenizer.encode_prompt(&prompt)
    };
    let tokens = tokens.map_err(tokenizing)?;
    let mut session = model.session();
    session.set_cancel(signals::stop_flag());
    let mut stream = generate_stream(&mut session, &tokenizer, &tokens, &options).map_err(generating)?;
    let written = (|| {
        for piece in &mut stream {
            let piece = piece.map_err(generating)?;
            if !printer.is_json() {
                printer.written(&piece.text)?;
            }
        }
        anyhow::Ok(())
    })();
    let answer = stream.into_generation();
    if !printer.is_json() && !answer.text.is_empty() {
        // What comes next, an error too, begins a line.
        printer.end_written()?;
    }
    written?;
    report(&model, &answer, printer)?;
    timings(&answer, printer);
    Ok(ExitCode::SUCCESS)
}

fn report(model: &Model, answer: &Generation, printer: &Printer) -> anyhow::Result<()> {
    if !printer.is_json() {
        return Ok(());
    }
    let report = Report {
        version: VERSION,
        model: model.name(),
        text: &answer.text,
        tokens: &answer.tokens,
        prompt_tokens: answer.prompt_tokens,
        stop: match answer.stop {
            StopReason::End => "end",
            StopReason::String => "string",
            _ => "length",
        },
        seconds: Seconds {
            first_token: answer.seconds.first_token,
            prefill: answer.seconds.prefill,
            decode: answer.seconds.decode,
        },
    };
    printer.report(&report, Lines::new)?;
    Ok(())
}
