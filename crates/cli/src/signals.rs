//! Signals whose default would end the process.

/// Has a write past the largest size that a file may have answered with an error, as one on a full disk is.
pub(crate) fn ignore_file_size() {
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "only the C library sets what a signal does")]
    // SAFETY: no handler is set, so that nothing runs when the signal comes.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
