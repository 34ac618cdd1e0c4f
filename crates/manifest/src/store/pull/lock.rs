//! Locks of the system: on the directory of pulls while one is looked for, and on the journal of a pull while a process works on it.
//!
//! The system lets go of them when their process ends, whatever ends it. Where it has none, or a file system refuses them, pulls go on without:
//! the names of their directories say whose they are.

#[cfg(not(unix))]
use std::path::Path;

/// A lock, until it goes.
#[derive(Debug)]
pub(super) struct Lock {
    #[cfg(unix)]
    _file: std::fs::File,
}

#[cfg(unix)]
mod system {
    use std::{fs::File, path::Path, thread, time::Duration};

    use rustix::{
        fs::{FlockOperation, flock},
        io::retry_on_intr,
    };

    use super::{super::super::lease::NAME, Lock};

    /// Tries of the lock on a journal, at which others look only for an instant.
    const TRIES: u32 = 20;
    /// Wait between two tries.
    const WAIT: Duration = Duration::from_millis(5);

    /// Locks the directory of pulls. Waits for who looks for a pull.
    pub(in super::super) fn pulls(dir: &Path) -> Option<Lock> {
        let file = File::open(dir).ok()?;
        retry_on_intr(|| flock(&file, FlockOperation::LockExclusive)).ok()?;
        Some(Lock { _file: file })
    }

    /// Locks the journal of the pull in `dir`, which belongs to this process.
    pub(in super::super) fn journal(dir: &Path) -> Option<Lock> {
        let file = File::options().read(true).write(true).open(dir.join(NAME)).ok()?;
        for _ in 0..TRIES {
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Some(Lock { _file: file });
            }
            thread::sleep(WAIT);
        }
        None
    }

    /// Whether nobody has a lock on the journal of the pull in `dir`, or it has none yet.
    pub(in super::super) fn is_free(dir: &Path) -> bool {
        match File::open(dir.join(NAME)) {
            Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared).is_ok(),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }
}

#[cfg(unix)]
pub(super) use system::{is_free, journal, pulls};

#[cfg(not(unix))]
pub(super) fn pulls(_dir: &Path) -> Option<Lock> {
    None
}

#[cfg(not(unix))]
pub(super) fn journal(_dir: &Path) -> Option<Lock> {
    None
}

#[cfg(not(unix))]
pub(super) fn is_free(_dir: &Path) -> bool {
    false
}
