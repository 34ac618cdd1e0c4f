//! Progress on the terminal, and stopping on an interrupt.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use longshore_manifest::Progress;

use crate::printer::Printer;

/// Set by the first interrupt.
static STOP: AtomicBool = AtomicBool::new(false);

/// A bar with bytes, rate and time left; invisible where stderr is no terminal.
#[derive(Debug)]
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar for one long operation. From here on an interrupt stops the operation rather than the process; a second one
    /// stops the process.
    pub(crate) fn new(printer: &Printer) -> Self {
        static HANDLER: OnceLock<()> = OnceLock::new();
        HANDLER.get_or_init(|| {
            // Without a handler an interrupt still ends the process; temporaries are swept by a later import.
            let _ = ctrlc::set_handler(|| {
                if STOP.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            });
        });
        let target = if printer.shows_progress() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bar: ProgressBar::with_draw_target(None, target) }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn begin(&self, stage: &'static str, total: u64) {
        let template = if total == 0 {
            "{msg} {spinner} {elapsed}"
        } else {
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}"
        };
        let style = ProgressStyle::with_template(template).expect("the templates are valid").progress_chars("=> ");
        self.bar.set_style(style);
        self.bar.set_message(stage);
        self.bar.reset();
        self.bar.set_length(total);
        if total == 0 {
            self.bar.enable_steady_tick(std::time::Duration::from_millis(100));
        }
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn cancelled(&self) -> bool {
        STOP.load(Ordering::Relaxed)
    }
}
