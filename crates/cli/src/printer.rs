//! Output of a command: data to stdout, everything else to stderr.

use std::io::{self, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

#[cfg(feature = "run")]
use crate::door::written;
use crate::{
    args::Global,
    door::{LINE, shown, with_bytes},
    json,
    lines::Lines,
};

/// The version of every JSON document.
pub(crate) const VERSION: u32 = 1;

/// Headings and names.
pub(crate) const STRONG: Style = Style::new().bold();
/// Notes of less weight.
pub(crate) const FAINT: Style = Style::new().dimmed();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Output of a command.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    verbose: bool,
}

impl Printer {
    pub(crate) fn new(global: &Global) -> Self {
        Self { json: global.json, quiet: global.quiet, verbose: global.verbose }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Whether progress may be drawn: on a terminal that can move its cursor.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Whether what is drawn on stderr may have colours.
    #[expect(clippy::unused_self, reason = "how a command talks is asked of the printer")]
    pub(crate) fn colours_stderr(&self) -> bool {
        anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
    }

    /// Number of columns for data; `None` where stdout is no terminal, so that lines may have any length.
    #[expect(clippy::unused_self, reason = "how a command talks is asked of the printer")]
    pub(crate) fn columns(&self) -> Option<usize> {
        terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0))
    }

    /// Prints a report: the JSON document with `--json`, otherwise the lines that `human` makes.
    pub(crate) fn report(&self, document: &impl Serialize, human: impl FnOnce() -> Lines) -> io::Result<()> {
        if self.json {
            io::stdout().write_all(&json::line(document)?).map_err(name_stdout)
        } else {
            self.data(human().as_str())
        }
    }

    /// Prints what is made of our own words alone, such as a manual page.
    pub(crate) fn own(&self, text: &str) -> io::Result<()> {
        self.data(text)
    }

    /// Prints a piece of a text that a model writes: exactly in a pipe, and on a terminal so that it moves nothing.
    #[cfg(feature = "run")]
    #[expect(clippy::unused_self, reason = "printing is done by whoever holds the printer")]
    pub(crate) fn written(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let shown = if stdout.is_terminal() { written(text) } else { text.into() };
        stdout.write_all(shown.as_bytes()).and_then(|()| stdout.flush()).map_err(name_stdout)
    }

    /// Ends the line of a text that a model wrote, where people read it.
    #[cfg(feature = "run")]
    pub(crate) fn end_written(&self) -> io::Result<()> {
        if io::stdout().is_terminal() { self.written("\n") } else { Ok(()) }
    }

    #[expect(clippy::unused_self, reason = "printing is done by whoever holds the printer")]
    fn data(&self, text: &str) -> io::Result<()> {
        let mut stdout = anstream::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(name_stdout)
    }

    /// Prints a line for people about what was done or comes next.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            to_stderr("", text);
        }
    }

    pub(crate) fn warn(&self, text: &str) {
        if !self.quiet {
            to_stderr(&format!("{WARNING}warning:{WARNING:#} "), text);
        }
    }

    pub(crate) fn hint(&self, text: &str) {
        if !self.quiet {
            hint(text);
        }
    }
}

/// Says that it is the output, not the store, that cannot be written. A closed pipe stays what it is.
fn name_stdout(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => error,
        _ => io::Error::other(format!("cannot write to stdout: {error}")),
    }
}

/// Prints the line of an error and its hints.
pub(crate) fn error(text: &str, hints: &[String]) {
    to_stderr(&format!("{ERROR}error:{ERROR:#} "), text);
    for text in hints {
        hint(text);
    }
}

fn hint(text: &str) {
    to_stderr(&format!("{HINT}hint:{HINT:#} "), text);
}

/// Prints one line: our label, and a text of which nobody knows whose words are in it. A line that cannot be written to stderr has
/// nowhere else to go.
fn to_stderr(label: &str, text: &str) {
    let line = format!("{label}{}\n", shown(&with_bytes(text), LINE));
    let _ = anstream::stderr().lock().write_all(line.as_bytes());
}
