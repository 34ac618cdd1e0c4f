//! Progress on the terminal, and stopping on an interrupt.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use longshore_manifest::Progress;

use crate::{
    door,
    format::{clock, size},
    printer::Printer,
    signals,
};

/// Characters of the name of a file that stands before a bar.
const NAME: usize = 40;

/// A bar with bytes, rate and time left; invisible where stderr is no terminal.
#[derive(Debug)]
pub(crate) struct Bar {
    /// That of the stage: a new one for each, as whatever is changed of one that is drawn may be seen half changed.
    stage: Mutex<ProgressBar>,
    is_drawn: bool,
    is_coloured: bool,
    unit: Unit,
}

/// What a bar counts.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Bytes,
    #[cfg(feature = "run")]
    Tokens,
}

impl Bar {
    /// A bar for one long operation. From here on an interrupt stops the operation rather than the process; a second one
    /// stops the process.
    pub(crate) fn new(printer: &Printer) -> Self {
        signals::stop_when_asked();
        Self {
            stage: Mutex::new(ProgressBar::hidden()),
            is_drawn: printer.shows_progress(),
            is_coloured: printer.colours_stderr(),
            unit: Unit::Bytes,
        }
    }

    /// Like [`Self::new`], for an operation that runs tokens.
    #[cfg(feature = "run")]
    pub(crate) fn of_tokens(printer: &Printer) -> Self {
        let mut bar = Self::new(printer);
        bar.unit = Unit::Tokens;
        bar
    }

    /// Shows that so many of so many tokens were run.
    #[cfg(feature = "run")]
    pub(crate) fn show(&self, done: usize, all: usize) {
        let bar = self.bar();
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    }

    fn bar(&self) -> MutexGuard<'_, ProgressBar> {
        // A bar is whole whatever happened to who held it.
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar().finish_and_clear();
    }
}

impl Progress for Bar {
    fn begin(&self, stage: &'static str, total: u64) {
        let mut bar = self.bar();
        bar.finish_and_clear();
        let target = if self.is_drawn { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        *bar = ProgressBar::with_draw_target(Some(total), target)
            .with_style(style(total, self.is_coloured, self.unit))
            .with_message(stage);
        // Without a tick the time left would stand still where a tensor takes long.
        if self.is_drawn && starts_threads() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
    }

    fn advance(&self, bytes: u64) {
        self.bar().inc(bytes);
    }

    fn at(&self, what: &str) {
        let name = what.rsplit('/').next().unwrap_or_default();
        self.bar().set_message(door::shown(name, NAME).into_owned());
    }

    fn cancelled(&self) -> bool {
        signals::is_asked()
    }
}

impl Unit {
    fn amount(self, number: u64) -> String {
        match self {
            Self::Bytes => size(number),
            #[cfg(feature = "run")]
            Self::Tokens => format!("{number} tokens"),
        }
    }
}

/// Whether the system starts threads: where it does not, what ticks the bar would end the process.
fn starts_threads() -> bool {
    thread::Builder::new().spawn(|| ()).is_ok_and(|thread| thread.join().is_ok())
}

/// A bar for a stage of so many bytes, or a spinner for one of which nobody knows how long it takes.
fn style(total: u64, is_coloured: bool, unit: Unit) -> ProgressStyle {
    let template = match (total, is_coloured) {
        (0, _) => "{msg} {spinner} {elapsed}",
        (_, false) => "{msg} {wide_bar} {percent:>3}%  {done}  {rate}  {left}",
        (_, true) => "{msg} {wide_bar:.cyan} {percent:>3}%  {done}  {rate}  {left}",
    };
    ProgressStyle::with_template(template)
        .expect("the templates are valid")
        .progress_chars("━╸ ")
        .with_key("done", move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let (done, all) = (state.pos(), state.len().unwrap_or_default());
            let _ = write!(out, "{} of {}", unit.amount(done), unit.amount(all));
        })
        .with_key("rate", move |state: &ProgressState, out: &mut dyn fmt::Write| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rate is not negative, and is shown in three digits"
            )]
            let rate = state.per_sec() as u64;
            let _ = write!(out, "{}/s", unit.amount(rate));
        })
        .with_key("left", |state: &ProgressState, out: &mut dyn fmt::Write| {
            // Before the first bytes there is no rate to tell it from.
            let _ = if state.pos() == 0 { Ok(()) } else { write!(out, "{} left", clock(state.eta())) };
        })
}
