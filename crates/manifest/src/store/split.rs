//! Check that a store lies on one file system, because files are renamed within it.

use std::path::PathBuf;

use super::Store;

/// A store with directories on two file systems, between which files cannot be renamed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is on another file system than {}: files cannot be renamed from one to the other",
    other.display(),
    temporary.display()
)]
#[non_exhaustive]
pub struct SplitStore {
    /// Path of the store's `tmp`.
    pub temporary: PathBuf,
    /// Path of the store's `blobs` or `manifests`.
    pub other: PathBuf,
}

impl Store {
    /// Refuses a store in which renames would fail after everything is written. A missing directory is no problem,
    /// because it will be created beside the others.
    pub(super) fn check_whole(&self) -> Result<(), Box<SplitStore>> {
        let temporary = self.temporary();
        let Some(own) = device(&temporary).or_else(|| device(&self.root)) else { return Ok(()) };
        match [self.blobs(), self.manifests()].into_iter().find(|dir| device(dir).is_some_and(|found| found != own)) {
            Some(other) => Err(Box::new(SplitStore { temporary, other })),
            None => Ok(()),
        }
    }
}

/// Returns the file system of a path's target, or `None` if it is not known.
#[cfg(unix)]
fn device(path: &std::path::Path) -> Option<u64> {
    path.metadata().ok().map(|found| std::os::unix::fs::MetadataExt::dev(&found))
}

#[cfg(not(unix))]
fn device(_path: &std::path::Path) -> Option<u64> {
    None
}
