//! Beginning a pull, and taking one over from a process that has ended.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    super::{
        ForeignStore, SplitStore, Store,
        lease::Lease,
        owner::{Fate, Owner, is_local, unique_name},
        sweep::is_dead,
    },
    lock::{self, Lock},
    record::PullRecord,
};
use crate::{Digest, FsError};

/// A pull that this process works on: a directory in the store with a journal of what is finished, and with the files of what is not yet in a
/// model.
///
/// It stays when the process ends, whatever ends it: no import, removal or [`Store::gc`] of another process takes its files, or deletes the
/// stored blobs that its journal names. The next [`Store::pull`] of the same key goes on with it. [`Pull::end`] removes it once its model is
/// committed, and [`Store::abandon_pull`] gives it up.
///
/// Only one process works on a pull. The directory's name says which, and the process holds a lock on the journal; the pull is taken over by a
/// rename, and only from a process that has certainly ended.
#[derive(Debug)]
pub struct Pull<'s> {
    pub(super) store: &'s Store,
    pub(super) dir: PathBuf,
    pub(super) journal: Lease,
    pub(super) record: PullRecord,
    is_over: bool,
    /// Held as long as this is there. It goes after the directory has its last name.
    _lock: Option<Lock>,
}

/// Reason why a pull cannot begin, go on or be abandoned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The store belongs to another program.
    #[error(transparent)]
    Foreign(#[from] ForeignStore),
    /// The directories of the store lie on several file systems.
    #[error(transparent)]
    Split(#[from] Box<SplitStore>),
    /// Another process works on the same pull.
    #[error("another process is pulling {reference}")]
    Running {
        /// Where the model comes from.
        reference: String,
    },
    /// There is no such pull.
    #[error("there is no unfinished pull of {reference}")]
    NotFound {
        /// Where the model would come from.
        reference: String,
    },
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Store {
    pub(in crate::store) fn pulls_dir(&self) -> PathBuf {
        self.root.join("pulls")
    }

    /// Begins a pull, or goes on with one of the same `key`: a digest of all that decides about the result, such as the source's commit and the
    /// options.
    ///
    /// # Errors
    ///
    /// [`PullError::Running`] if another process works on it, else as [`Store::ingest`].
    pub fn pull(&self, key: &Digest, record: &PullRecord) -> Result<Pull<'_>, PullError> {
        self.check_own()?;
        self.create()?;
        self.check_whole()?;
        let parent = self.pulls_dir();
        for dir in self.disk.create_dir_all(&parent)? {
            self.disk.sync_dir(&dir)?;
        }
        // Two that start together would both find none.
        let _finding = lock::pulls(&parent);
        let prefix = prefix(key);
        let mine = parent.join(format!("{prefix}{}", unique_name()));
        let mut tries = 0;
        loop {
            let found = pull_dirs(&parent)?;
            let found = found.into_iter().find(|path| file_name(path).starts_with(&prefix));
            let Some(other) = found else {
                self.disk.create_dir(&mine)?;
                self.disk.sync_dir(&parent)?;
                break;
            };
            if !is_free(&other) {
                return Err(PullError::Running { reference: record.reference.clone() });
            }
            match self.disk.rename(&other, &mine) {
                Ok(()) => {
                    self.disk.sync_dir(&parent)?;
                    break;
                }
                // Another process was first.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < 16 => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
        self.describe(&mine, record)?;
        let journal = Lease::resume(&self.disk, &mine)?;
        let lock = lock::journal(&mine);
        Ok(Pull { store: self, dir: mine, journal, record: record.clone(), is_over: false, _lock: lock })
    }

    /// Writes the record of the pull in `dir`, at once and durably.
    fn describe(&self, dir: &Path, record: &PullRecord) -> Result<(), FsError> {
        if PullRecord::read(dir)?.as_ref() == Some(record) {
            return Ok(());
        }
        let temporary = dir.join(format!("{}.new", super::record::NAME));
        self.disk.remove_file(&temporary)?;
        self.disk.write_new(&temporary, &record.to_bytes())?;
        self.disk.sync_file(&temporary)?;
        self.disk.rename(&temporary, &dir.join(super::record::NAME))?;
        self.disk.sync_dir(dir)
    }
}

impl Pull<'_> {
    /// What the pull says about itself.
    #[must_use]
    pub fn record(&self) -> &PullRecord {
        &self.record
    }

    /// A directory for files of the caller, such as shards. It goes with the pull.
    ///
    /// # Errors
    ///
    /// [`FsError`] if it cannot be made.
    pub fn scratch(&self) -> Result<PathBuf, FsError> {
        let dir = self.dir.join("scratch");
        self.store.disk.create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Removes the pull. Its model is committed, so nothing of it is needed any more.
    ///
    /// # Errors
    ///
    /// [`FsError`] if its files cannot be removed. They are no danger: a pull of the same key finds all blobs.
    pub fn end(mut self) -> Result<(), FsError> {
        self.journal.close();
        self.is_over = true;
        self.store.disk.remove_tree(&self.dir)
    }
}

impl Drop for Pull<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.journal.close();
            // If it keeps its name, others wait until this process has ended.
            let key = file_name(&self.dir).split_once('.').map(|(key, _)| key.to_owned()).unwrap_or_default();
            let _ = self.store.disk.rename(&self.dir, &self.store.pulls_dir().join(format!("{key}.{IDLE}")));
        }
    }
}

/// What stands in the place of a process that works on a pull, if none does.
const IDLE: &str = "idle";

/// Beginning of the names of the directories of the pull with this key.
pub(super) fn prefix(key: &Digest) -> String {
    format!("{}.", key.file_name())
}

pub(super) fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Whether the process that worked on a pull has ended. A process that works on one twice at once is refused too.
pub(super) fn is_free(path: &Path) -> bool {
    let Some((_, owner)) = file_name(path).split_once('.').filter(|(_, owner)| *owner != IDLE) else { return true };
    let fate = Owner::current().zip(Owner::of(owner)).map_or(Fate::Unknown, |(me, owner)| owner.fate(&me));
    // A process that cannot be looked at, such as that of a container, has a lock on a disk of this machine while it lives.
    fate == Fate::Unknown && is_local(path) && lock::is_free(path) || is_dead(path, owner)
}

/// The directories of all pulls.
pub(super) fn pull_dirs(parent: &Path) -> Result<Vec<PathBuf>, FsError> {
    let found = crate::fs::entries(parent)?;
    Ok(found.into_iter().filter(|(_, kind)| kind.is_dir()).map(|(name, _)| parent.join(name)).collect())
}
