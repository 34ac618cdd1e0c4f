//! Errors about usage: one line and hints, as every other error.

use std::{env, io, process::ExitCode};

use clap::{
    CommandFactory as _, ValueEnum as _,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{
    advice::FAILED,
    args::{Cli, Color},
    door::{self, CELL, shown},
    hints, printer,
};

/// Prints a usage error as one line and hints; help and version go to stdout.
pub(crate) fn report(error: clap::Error) -> ExitCode {
    // Nobody else will: what was parsed is an error.
    colour().write_global();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match error.print() {
            Err(failure) if failure.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(FAILED),
            _ => ExitCode::SUCCESS,
        };
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(FAILED);
    }
    let verb = env::args_os().skip(1).filter_map(|arg| arg.into_string().ok()).find(|arg| !arg.starts_with('-'));
    let hints = hints::usage::of(&error, verb.as_deref().filter(|verb| is_verb(verb)));
    printer::error(&text(error), &hints);
    ExitCode::from(FAILED)
}

/// The last valid value of `--color` among the arguments, for when they cannot be parsed as a whole.
fn colour() -> Color {
    let args: Vec<_> = env::args_os().skip(1).take_while(|arg| arg != "--").collect();
    let mut values = args.iter().enumerate().rev().filter_map(|(at, arg)| match arg.to_str()? {
        "--color" => args.get(at + 1)?.to_str(),
        arg => arg.strip_prefix("--color="),
    });
    values.find_map(|value| Color::from_str(value, false).ok()).unwrap_or(Color::Auto)
}

fn is_verb(text: &str) -> bool {
    Cli::command().find_subcommand(text).is_some()
}

/// The error in clap's words, in which the words of the command line have passed the door before they are among them.
fn text(mut error: clap::Error) -> String {
    if error.kind() == ErrorKind::InvalidUtf8
        && let Some(arg) = env::args_os().find(|arg| arg.to_str().is_none())
    {
        return format!("the argument '{}' is not UTF-8", shown(&door::path(arg), CELL));
    }
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(value)) = error.get(kind) {
            let value = shown(&door::with_bytes(value), CELL).into_owned();
            error.insert(kind, ContextValue::String(value));
        }
    }
    let (arg, value) = (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue));
    if let (ErrorKind::ValueValidation, Some(arg), Some(value)) = (error.kind(), arg, value) {
        // The cause has the value too, so that its words are not clap's.
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        return format!("invalid value '{value}' for '{arg}'{cause}");
    }
    let rendered = error.to_string();
    let first = rendered.split("\n\n").next().unwrap_or_default();
    let lines = first.strip_prefix("error: ").unwrap_or(first).lines();
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}
