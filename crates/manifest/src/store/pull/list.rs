//! Unfinished pulls, and the blobs that they need.

use std::path::PathBuf;

use super::{
    super::{GcError, Store, lease},
    open::{is_free, pull_dirs},
    record::PullRecord,
};
use crate::{Digest, FsError};

/// An unfinished pull.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PullEntry {
    /// What the pull says about itself.
    pub record: PullRecord,
    /// Bytes that it has on disk: finished blobs and parts.
    pub kept_bytes: u64,
    /// Whether a process works on it.
    pub is_running: bool,
    pub(super) dir: PathBuf,
}

impl Store {
    /// Lists the unfinished pulls, by the names of their models.
    ///
    /// # Errors
    ///
    /// [`FsError`] if a directory cannot be listed.
    pub fn pulls(&self) -> Result<Vec<PullEntry>, FsError> {
        let mut found = Vec::new();
        for dir in pull_dirs(&self.pulls_dir())? {
            if let Some(record) = PullRecord::read(&dir)? {
                let kept_bytes = super::super::sweep::weigh(&dir).bytes;
                found.push(PullEntry { record, kept_bytes, is_running: !is_free(&dir), dir });
            }
        }
        found.sort_by(|a, b| (&a.record.name, &a.dir).cmp(&(&b.record.name, &b.dir)));
        Ok(found)
    }

    /// The blobs that pulls need.
    pub(in crate::store) fn pulled_blobs(&self) -> Result<Vec<Digest>, GcError> {
        let parent = self.pulls_dir();
        let mut dirs = pull_dirs(&parent)?;
        loop {
            let mut found = Vec::new();
            for dir in &dirs {
                found.extend(lease::read(dir)?.into_iter().map(|line| line.digest));
            }
            // A pull that was taken over in the meantime has another name, and its journal may have been missed.
            let now = pull_dirs(&parent)?;
            if now == dirs {
                return Ok(found);
            }
            dirs = now;
        }
    }
}
