//! Loaded before a program, this fails the file calls that it is told to fail.
//!
//! Every file call of the process, whoever makes it, is stopped by the kernel: a seccomp filter answers it with `SIGSYS`, and the handler
//! of that signal carries the call out, fails it or cuts it short. So nothing escapes: not the calls that a program makes without
//! its C library, and not those that the C library makes on its own. What the handler itself asks of the kernel is let through by the
//! filter, as it comes from one instruction that nobody else uses.
//!
//! The handler may run while any lock is held, that of the allocator included: it allocates nothing and waits for nothing.

mod calls;
#[path = "../src/class.rs"]
mod class;
#[path = "../src/fault.rs"]
mod fault;
mod filter;
mod handler;
mod log;
mod machine;
mod path;
mod setting;

use setting::Setting;

/// Runs before the program does. Without a setting in the environment it does nothing.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    let started = match Setting::of_environment() {
        Ok(None) => return,
        Ok(Some(setting)) => handler::install(setting).and_then(|()| filter::install()),
        Err(error) => Err(error),
    };
    if let Err(error) = started {
        eprintln!("faults: {error}");
        // Exit status that a shell reports for a program that it cannot run.
        std::process::exit(126);
    }
}
