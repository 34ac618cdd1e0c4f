//! `chat NAME`: a conversation.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use longshore_manifest::Store;
use longshore_run::{
    Precision,
    generate::{Chat as Conversation, GenerateError},
    text::{ChatTemplate, Message, TemplateError},
};

use super::{
    answer::{Writing, timings},
    draft::{self, Draft},
    engine,
    refusals::{generating, no_template, templating},
};
use crate::{advice::Advice, args::running::Chat, printer::Printer, signals};

/// Longest line that is read, in bytes, with its end.
const MAX_LINE: usize = 16 << 20;

/// Words that end a conversation.
const EXITS: [&str; 3] = ["/exit", "/quit", "/bye"];

pub(in crate::commands) fn run(
    args: &Chat,
    store: impl Fn() -> anyhow::Result<Store>,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    if printer.is_json() {
        return Err(Advice::failure("a conversation is no document: chat has no --json")
            .hint("longshore run NAME --chat PROMPT --json answers one question")
            .into());
    }
    let target = engine::here(&args.model, &store, printer)?;
    let model = engine::open(&target, &args.engine, Precision::Fast, &store, printer)?;
    let mut writing = Writing::of(&model, &args.generation)?;
    let options = (&args.generation, &args.engine);
    let draft = args.draft.as_ref().map(|draft| Draft::open(draft, &model, &mut writing, options, &store, printer));
    let draft = draft.transpose()?;
    let Writing { tokenizer, options } = writing;
    let template = ChatTemplate::open(model.source()).map_err(templating)?;
    let template = template.ok_or_else(|| no_template(model.name(), "chat"))?;
    let mut conversation = match &draft {
        None => Conversation::new(&model, &tokenizer, &template, options),
        Some(draft) => {
            let draft = draft.proposer(None);
            Conversation::with_draft(&model, draft, &tokenizer, &template, options).map_err(generating)?
        }
    };
    if let Some(system) = &args.system {
        conversation.push(Message::system(system));
    }
    let unread = Arc::new(AtomicBool::new(false));
    conversation.session().set_cancel(Arc::clone(&unread));
    let mut lines = Typed::start()?;
    printer.note("/exit ends the conversation");
    while let Some(line) = lines.next()? {
        let line = line.trim_end_matches(['\n', '\r']);
        if EXITS.contains(&line.trim()) {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        // A piece that cannot be printed ends the conversation: nobody reads it any more.
        let (mut output, mut is_open) = (Ok(()), false);
        let answer = conversation.send(line, |piece| {
            is_open |= !piece.is_empty();
            if output.is_ok() {
                output = printer.written(piece);
                unread.store(output.is_err(), Ordering::Relaxed);
            }
        });
        output?;
        if is_open || answer.is_ok() {
            printer.written("\n")?;
        }
        match answer {
            Ok(answer) => timings(&answer, printer),
            Err(error @ GenerateError::Template(TemplateError::Raised { .. })) if lines.is_terminal => {
                // A template may refuse a turn; the conversation goes on without it.
                printer.warn(&error.to_string());
            }
            Err(error) => return Err(generating(error)),
        }
    }
    if let Some(acceptance) = conversation.acceptance() {
        draft::accepted(acceptance, printer);
    }
    Ok(ExitCode::SUCCESS)
}

/// Lines that are typed. They are read by a thread, so that an interrupt ends the wait for one.
struct Typed {
    lines: mpsc::Receiver<io::Result<Vec<u8>>>,
    is_terminal: bool,
}

impl Typed {
    fn start() -> anyhow::Result<Self> {
        // One line at a time, so that nothing is read ahead of what is asked.
        let (sender, lines) = mpsc::sync_channel(0);
        let read = move || {
            let mut stdin = io::stdin().lock();
            loop {
                let mut line = Vec::new();
                let read = stdin.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line);
                let is_over = !matches!(read, Ok(length) if length > 0);
                if sender.send(read.map(|_| line)).is_err() || is_over {
                    return;
                }
            }
        };
        thread::Builder::new().spawn(read).context("cannot start a thread that reads stdin")?;
        Ok(Self { lines, is_terminal: io::stdin().is_terminal() })
    }

    /// The next line; `None` at the end of the input.
    fn next(&mut self) -> anyhow::Result<Option<String>> {
        if self.is_terminal {
            let mut stderr = io::stderr().lock();
            let _ = stderr.write_all(b"> ").and_then(|()| stderr.flush());
        }
        loop {
            match self.lines.recv_timeout(Duration::from_millis(50)) {
                Ok(Ok(line)) if line.is_empty() => {
                    self.end_line();
                    return Ok(None);
                }
                Ok(Ok(line)) if line.len() > MAX_LINE => {
                    return Err(Advice::input(format!("a line of stdin has more than {MAX_LINE} bytes")).into());
                }
                Ok(Ok(line)) => {
                    let line = String::from_utf8(line);
                    return line.map(Some).map_err(|_| Advice::input("stdin is not UTF-8").into());
                }
                Ok(Err(error)) => return Err(error).context("cannot read stdin"),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(None),
                Err(mpsc::RecvTimeoutError::Timeout) if signals::is_asked() => {
                    self.end_line();
                    return Err(Advice::interrupted("interrupted").into());
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Ends the line of the prompt, so that what comes next begins one.
    fn end_line(&self) {
        if self.is_terminal {
            let _ = io::stderr().lock().write_all(b"\n");
        }
    }
}
