//! Rendering within bounds: of output, memory, depth and time.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use minijinja::{Environment, Value};

use super::{environment::NAME, error::TemplateError};

/// Most bytes that a template writes.
const MAX_OUTPUT: usize = 16 << 20;
/// Longest time of a rendering. Fuel ends nearly all endless work within a fraction of a second; this is for what uses none.
const DEADLINE: Duration = Duration::from_secs(10);
/// Time after which memory is looked at; renderings end long before.
const LOOK: Duration = Duration::from_millis(20);
/// Most memory that the process may grow by while a template is rendered, in bytes.
const GROWTH: u64 = 1 << 30;
/// Address space for the stack. Lists within lists, as deep as fuel allows, are dropped and compared recursively.
const STACK: usize = if cfg!(target_pointer_width = "64") { 512 << 20 } else { 64 << 20 };

const OUTPUT: &str = "it writes more than 16 MiB";
pub(super) const MEMORY: &str = "it takes too much memory";
pub(super) const TIME: &str = "it takes more than ten seconds";

/// Renders the only template of an environment.
pub(super) fn render(environment: &Arc<Environment<'static>>, variables: Value) -> Result<String, TemplateError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let environment = Arc::clone(environment);
    let before = anonymous_bytes();
    let work = move || {
        let rendered = render_here(&environment, variables);
        // Whoever waited may have given up.
        let _ = sender.send(rendered);
    };
    let thread = thread::Builder::new().name("chat template".to_owned()).stack_size(STACK).spawn(work);
    thread.map_err(TemplateError::Thread)?;
    let started = Instant::now();
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(rendered) => return rendered,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(TemplateError::Render { line: None, problem: "the engine panicked".to_owned() });
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        let grown = before.zip(anonymous_bytes()).map(|(before, now)| now.saturating_sub(before));
        if grown.is_some_and(|grown| grown > GROWTH) {
            return Err(TemplateError::Limit { limit: MEMORY });
        }
        if started.elapsed() > DEADLINE {
            return Err(TemplateError::Limit { limit: TIME });
        }
    }
}

fn render_here(environment: &Environment<'_>, variables: Value) -> Result<String, TemplateError> {
    let mut out = Bounded::default();
    let template = environment.get_template(NAME).map_err(|error| TemplateError::render(&error))?;
    let rendered = template.render_captured_to(variables, &mut out).map(drop);
    if out.is_full {
        return Err(TemplateError::Limit { limit: OUTPUT });
    }
    rendered.map_err(|error| TemplateError::render(&error))?;
    // The engine writes texts, so that this checks and never fails.
    String::from_utf8(out.bytes)
        .map_err(|_| TemplateError::Render { line: None, problem: "it wrote no UTF-8".to_owned() })
}

/// Output that is refused once it is too long.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_OUTPUT {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Memory of the process that is no file's; `None` where the system does not say.
fn anonymous_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = pages.split_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    // A page has 4 KiB at least; where it has more, less growth is allowed in pages than could be.
    Some(resident.saturating_sub(shared) << 12)
}
