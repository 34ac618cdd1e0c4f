//! Signals whose default would end the process.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

/// Exit status after a signal: this and the signal's number.
const BY_SIGNAL: u8 = 128;

/// The exit status that the first signal asked for. 0 as long as there was none.
static ASKED: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// Whether there was a signal.
static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Has a write past the largest size that a file may have answered with an error, as one on a full disk is.
pub(crate) fn ignore_file_size() {
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "only the C library sets what a signal does")]
    // SAFETY: no handler is set, so that nothing runs when the signal comes.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// From here on an interrupt asks for the end of the operation, and a second one ends the process. Takes no thread. Where the system takes
/// no handler, an interrupt ends the process, and a later command removes its temporary files.
pub(crate) fn stop_when_asked() {
    static ONCE: LazyLock<()> = LazyLock::new(|| {
        let mut signals = vec![SIGINT, SIGTERM];
        #[cfg(unix)]
        signals.push(signal_hook::consts::SIGHUP);
        for signal in signals {
            let status = status_of(signal);
            // In this order: the first signal sets the flag that the second finds.
            let _ = flag::register_conditional_shutdown(signal, status.into(), Arc::clone(&STOP));
            let _ = flag::register(signal, Arc::clone(&STOP));
            let _ = flag::register_usize(signal, Arc::clone(&ASKED), status.into());
        }
    });
    LazyLock::force(&ONCE);
}

/// Whether an interrupt has asked for the end.
pub(crate) fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed) != 0
}

/// The flag that an interrupt sets, for what checks one.
#[cfg(feature = "run")]
pub(crate) fn stop_flag() -> Arc<AtomicBool> {
    Arc::clone(&STOP)
}

/// The exit status of a command that was asked to end: 130 after an interrupt, 143 after SIGTERM.
pub(crate) fn status() -> u8 {
    match u8::try_from(ASKED.load(Ordering::Relaxed)) {
        Ok(asked) if asked != 0 => asked,
        _ => status_of(SIGINT),
    }
}

fn status_of(signal: i32) -> u8 {
    u8::try_from(signal).map_or(u8::MAX, |signal| BY_SIGNAL + signal)
}
