//! `run NAME [PROMPT]`: a model continues a prompt.

use std::{
    io,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use longshore_manifest::Store;
use longshore_run::{
    Model, Precision,
    generate::{Drafted, Generation, StopReason, generate_drafted, generate_stream},
    text::{ChatTemplate, Message, Tokenizer},
};
use serde::Serialize;

use super::{
    answer::{Writing, timings},
    draft::{self, Draft},
    engine, read,
    refusals::{generating, no_template, templating, tokenizing},
    trace::Recording,
};
use crate::{
    args::running::Run,
    format::{seconds, size},
    lines::Lines,
    printer::{Printer, VERSION},
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
    /// Absent without a draft model.
    #[serde(skip_serializing_if = "Option::is_none")]
    draft: Option<Acceptance>,
    /// Absent without slots for experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    experts: Option<Slots>,
}

/// Experts that were in slots when they were asked for, on their way, and in none; and those that were fetched ahead for nothing.
#[derive(Serialize)]
struct Slots {
    hits: u64,
    late: u64,
    misses: u64,
    wasted: u64,
    read_bytes: u64,
    seconds_waited: f64,
}

#[derive(Serialize)]
struct Seconds {
    first_token: f64,
    prefill: f64,
    decode: f64,
}

/// Tokens that a draft model proposed, and those that were right.
#[derive(Serialize)]
struct Acceptance {
    proposed: usize,
    accepted: usize,
}

pub(in crate::commands) fn run(
    args: &Run,
    store: impl Fn() -> anyhow::Result<Store>,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let target = engine::here(&args.model, &store, printer)?;
    let adapter = args.adapter.as_ref().map(|name| engine::adapter(name, &target, &store)).transpose()?;
    let model = engine::open_adapted(&target, &args.engine, Precision::Fast, adapter, &store, printer)?;
    let mut writing = Writing::of(&model, &args.generation)?;
    let options = (&args.generation, &args.engine);
    let draft = args.draft.as_ref().map(|draft| Draft::open(draft, &model, &mut writing, options, &store, printer));
    let draft = draft.transpose()?;
    let tokens = prompt(args, &model, &writing.tokenizer)?;
    let recording = args.trace.as_deref().map(|path| Recording::begin(path, &model)).transpose()?;
    let mut output = Output { printer, is_open: false, failed: None };
    let answered = match &draft {
        None => stream(&model, &writing, &tokens, recording.as_ref(), &mut output).map(|answer| (answer, None)),
        Some(draft) => drafted(&model, draft, &writing, &tokens, &mut output),
    };
    // What comes next, an error too, begins a line.
    output.end()?;
    let (answer, draft) = answered?;
    recording.map_or(Ok(()), Recording::finish)?;
    report(&model, &answer, draft, printer)?;
    timings(&answer, printer);
    Ok(ExitCode::SUCCESS)
}

/// Tokens of the prompt: as it is, or in the model's chat template.
fn prompt(args: &Run, model: &Model, tokenizer: &Tokenizer) -> anyhow::Result<Vec<u32>> {
    let template = if args.chat {
        let template = ChatTemplate::open(model.source()).map_err(templating)?;
        Some(template.ok_or_else(|| no_template(model.name(), "run"))?)
    } else {
        None
    };
    let prompt = match &args.prompt {
        Some(prompt) => prompt.clone(),
        None => read::stdin()?,
    };
    let Some(template) = template else { return tokenizer.encode_prompt(&prompt).map_err(tokenizing) };
    let text = template.render(&[Message::user(prompt)], true).map_err(templating)?;
    // The template puts BOS itself.
    tokenizer.encode(&text).map_err(tokenizing)
}

fn stream(
    model: &Model,
    writing: &Writing,
    tokens: &[u32],
    recording: Option<&Recording<'_>>,
    output: &mut Output<'_>,
) -> anyhow::Result<Generation> {
    let mut session = model.session();
    if let Some(recording) = recording {
        recording.hear(&mut session);
    }
    let mut stream = generate_stream(&mut session, &writing.tokenizer, tokens, &writing.options).map_err(generating)?;
    for piece in &mut stream {
        output.write(&piece.map_err(generating)?.text);
        output.check()?;
    }
    Ok(stream.into_generation())
}

fn drafted(
    model: &Model,
    draft: &Draft<'_>,
    writing: &Writing,
    tokens: &[u32],
    output: &mut Output<'_>,
) -> anyhow::Result<(Generation, Option<Acceptance>)> {
    let unread = Arc::new(AtomicBool::new(false));
    let mut target = model.session();
    target.set_cancel(Arc::clone(&unread));
    let draft = draft.proposer(Some(&unread));
    let answer = generate_drafted(target, draft, &writing.tokenizer, tokens, &writing.options, |text| {
        output.write(text);
        unread.store(output.failed.is_some(), Ordering::Relaxed);
    });
    // The output that failed is the reason for which the answer ended.
    output.check()?;
    let Drafted { generation, proposed, accepted } = answer.map_err(generating)?;
    Ok((generation, Some(Acceptance { proposed, accepted })))
}

/// Where the answer goes as it comes.
struct Output<'p> {
    printer: &'p Printer,
    /// Whether something was printed.
    is_open: bool,
    failed: Option<io::Error>,
}

impl Output<'_> {
    fn write(&mut self, text: &str) {
        if self.printer.is_json() || text.is_empty() || self.failed.is_some() {
            return;
        }
        self.is_open = true;
        self.failed = self.printer.written(text).err();
    }

    /// An answer that nobody reads need not be written.
    fn check(&mut self) -> anyhow::Result<()> {
        self.failed.take().map_or(Ok(()), |error| Err(error.into()))
    }

    fn end(&self) -> io::Result<()> {
        if self.is_open { self.printer.end_written() } else { Ok(()) }
    }
}

fn report(model: &Model, answer: &Generation, draft: Option<Acceptance>, printer: &Printer) -> anyhow::Result<()> {
    let experts = model.expert_stats().map(|stats| {
        let total = stats.total();
        Slots {
            hits: total.hits,
            late: total.late,
            misses: total.misses,
            wasted: total.wasted,
            read_bytes: total.miss_bytes + total.prefetched_bytes,
            seconds_waited: (total.late_wait + total.miss_wait).as_secs_f64(),
        }
    });
    if !printer.is_json() {
        if let Some(Acceptance { proposed, accepted }) = draft {
            draft::accepted((accepted, proposed), printer);
        }
        if let Some(Slots { hits, late, misses, wasted, read_bytes, seconds_waited }) = experts {
            printer.note(&format!(
                "experts: {hits} hits, {late} late, {misses} misses, {wasted} wasted; {} read, {} waited",
                size(read_bytes),
                seconds(seconds_waited)
            ));
        }
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
        draft,
        experts,
    };
    printer.report(&report, Lines::new)?;
    Ok(())
}
