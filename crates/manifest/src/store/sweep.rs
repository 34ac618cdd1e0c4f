//! Removing what killed imports left in `tmp/`.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::Store;
use crate::{FsError, fs};

/// Files that nobody has written to for this long belong to no running import.
const EXPIRY: Duration = Duration::from_secs(60 * 60);

impl Store {
    /// Removes expired temporaries, unless an import that holds the lock is running. What cannot be removed stays for the
    /// next time: it is no reason to refuse an import.
    pub(super) fn sweep(&self) {
        let Ok(lock) = self.lock_file() else { return };
        if lock.try_lock().is_ok() {
            let _ = self.remove_temporaries(EXPIRY);
        }
    }

    /// Removes temporaries last written to at least `age` ago; returns their size in bytes.
    ///
    /// The first failure is reported after all others have been removed.
    pub(super) fn remove_temporaries(&self, age: Duration) -> Result<u64, FsError> {
        let mut freed = 0;
        let mut failed = None;
        for (path, bytes) in self.temporaries(age)? {
            match remove(&path) {
                Ok(()) => freed += bytes,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(freed), Err)
    }

    /// The temporaries last written to at least `age` ago, with their sizes in bytes.
    pub(super) fn temporaries(&self, age: Duration) -> Result<Vec<(PathBuf, u64)>, FsError> {
        let mut found = Vec::new();
        for (name, _) in fs::entries(&self.temporary())? {
            let path = self.temporary().join(name);
            let (bytes, newest) = weigh(&path);
            // A time in the future is as good as now.
            if newest.is_some_and(|time| time.elapsed().unwrap_or_default() >= age) {
                found.push((path, bytes));
            }
        }
        Ok(found)
    }
}

/// Removes a file or a directory; one that is gone already is no error.
fn remove(path: &Path) -> Result<(), FsError> {
    if !path.is_dir() {
        return fs::remove_file(path);
    }
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FsError::at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The size of a temporary in bytes, and when it was last written to: the newest of its files, or itself if it has none.
fn weigh(path: &Path) -> (u64, Option<SystemTime>) {
    let Ok(itself) = path.symlink_metadata() else { return (0, None) };
    if !itself.is_dir() {
        return (itself.len(), itself.modified().ok());
    }
    let files = fs::entries(path).unwrap_or_default();
    let found = files.iter().filter_map(|(name, _)| path.join(name).symlink_metadata().ok());
    let (bytes, newest) = found
        .fold((0, None), |(bytes, newest), metadata| (bytes + metadata.len(), newest.max(metadata.modified().ok())));
    (bytes, newest.or_else(|| itself.modified().ok()))
}
