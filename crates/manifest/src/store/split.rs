//! Whether a store lies on one file system, as renames within it need.

use std::path::PathBuf;

use super::Store;

/// A store with directories on two file systems: a file of the one cannot be renamed into the other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is on another file system than {}: files cannot be renamed from one to the other",
    other.display(),
    temporary.display()
)]
#[non_exhaustive]
pub struct SplitStore {
    /// The store's `tmp`.
    pub temporary: PathBuf,
    /// Its `blobs` or `manifests`.
    pub other: PathBuf,
}

impl Store {
    /// Refuses to change a store in which a rename would fail only when everything is written. A directory that is not there
    /// is made beside the others.
    pub(super) fn check_whole(&self) -> Result<(), Box<SplitStore>> {
        let temporary = self.temporary();
        let Some(own) = device(&temporary).or_else(|| device(&self.root)) else { return Ok(()) };
        match [self.blobs(), self.manifests()].into_iter().find(|dir| device(dir).is_some_and(|found| found != own)) {
            Some(other) => Err(Box::new(SplitStore { temporary, other })),
            None => Ok(()),
        }
    }
}

/// The file system of what a path leads to; `None` where it is not known.
#[cfg(unix)]
fn device(path: &std::path::Path) -> Option<u64> {
    path.metadata().ok().map(|found| std::os::unix::fs::MetadataExt::dev(&found))
}

#[cfg(not(unix))]
fn device(_path: &std::path::Path) -> Option<u64> {
    None
}
