//! File systems for tests: one that records, one that fails, one that stops.
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::system::{FileSystem, Op, Real};

/// A change that was carried out, with all that is needed to repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Done {
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    SyncFile(PathBuf),
    SyncDir(PathBuf),
    SyncAll,
    Rename(PathBuf, PathBuf),
    RemoveFile(PathBuf),
    CreateDir(PathBuf),
    RemoveDir(PathBuf),
}

/// Carries out all changes except syncs, and records them. Times are not recorded: no decision after a crash depends on
/// a time that a sync could have made durable.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) log: Mutex<Vec<Done>>,
    pub(crate) can_sync_all: bool,
}

impl Recording {
    pub(crate) fn new(can_sync_all: bool) -> Self {
        Self { log: Mutex::default(), can_sync_all }
    }
}

impl FileSystem for Recording {
    fn run(&self, op: Op<'_>) -> io::Result<Option<File>> {
        let done = match op {
            Op::Create { path, .. } => Done::Create(path.into()),
            Op::Write { path, offset, bytes, .. } => Done::Write(path.into(), offset, bytes.into()),
            Op::SetModified { .. } => return Real.run(op),
            Op::SyncFile { path, .. } => Done::SyncFile(path.into()),
            Op::SyncDir { path } => Done::SyncDir(path.into()),
            Op::SyncAll { .. } => Done::SyncAll,
            Op::Rename { from, to } | Op::RenameNew { from, to } => Done::Rename(from.into(), to.into()),
            Op::RemoveFile { path } => Done::RemoveFile(path.into()),
            Op::CreateDir { path } => Done::CreateDir(path.into()),
            Op::RemoveDir { path } => Done::RemoveDir(path.into()),
        };
        // Holds the lock during the change, so that the log has the order of the changes.
        let mut log = self.log.lock().unwrap();
        let result = without_syncs(op)?;
        log.push(done);
        Ok(result)
    }

    fn synced_alone(&self) -> Option<usize> {
        self.can_sync_all.then_some(0)
    }
}

/// The real file system without syncs, for which tests need not wait. Other tests detect missing syncs.
#[derive(Debug)]
pub(crate) struct Quick;

impl FileSystem for Quick {
    fn run(&self, op: Op<'_>) -> io::Result<Option<File>> {
        without_syncs(op)
    }

    fn synced_alone(&self) -> Option<usize> {
        Some(0)
    }
}

fn without_syncs(op: Op<'_>) -> io::Result<Option<File>> {
    match op {
        Op::SyncFile { path, .. } | Op::SyncDir { path } => path.metadata().map(|_| None),
        Op::SyncAll { .. } => Ok(None),
        other => Real.run(other),
    }
}

/// A file system of which one change fails. A failed write has written half of its bytes.
#[derive(Debug)]
pub(crate) struct Faulty {
    pub(crate) error: io::ErrorKind,
    /// Number of the change that fails, counted from 0. If `for_good`, all later changes fail too.
    pub(crate) at: usize,
    pub(crate) for_good: bool,
    pub(crate) can_sync_all: bool,
    pub(crate) count: AtomicUsize,
    /// Action and path of each failed change.
    pub(crate) failed: Mutex<Vec<(&'static str, PathBuf)>>,
}

impl Faulty {
    pub(crate) fn new(error: io::ErrorKind, at: usize) -> Self {
        Self { error, at, for_good: false, can_sync_all: true, count: AtomicUsize::new(0), failed: Mutex::default() }
    }

    /// Makes a file system on which every change fails.
    pub(crate) fn read_only() -> Self {
        Self { for_good: true, ..Self::new(io::ErrorKind::ReadOnlyFilesystem, 0) }
    }
}

impl FileSystem for Faulty {
    fn run(&self, op: Op<'_>) -> io::Result<Option<File>> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        if count == self.at || self.for_good && count > self.at {
            if let Op::Write { file, path, offset, bytes } = op
                && !self.for_good
            {
                Real.run(Op::Write { file, path, offset, bytes: &bytes[..bytes.len() / 2] })?;
            }
            let (action, path) = op.target();
            self.failed.lock().unwrap().push((action, path.into()));
            return Err(self.error.into());
        }
        without_syncs(op)
    }

    fn synced_alone(&self) -> Option<usize> {
        self.can_sync_all.then_some(0)
    }
}

/// Path that [`Stops`] reports between two readings.
pub(crate) const BETWEEN_READS: &str = "between reads";

/// Calls a function before and after each change: with twice the change's number, and with that plus 1.
pub(crate) struct Stops<F> {
    pub(crate) at: F,
    pub(crate) count: AtomicUsize,
}

impl<F: Fn(usize, &Path) + Send + Sync> Stops<F> {
    pub(crate) fn new(at: F) -> Self {
        Self { at, count: AtomicUsize::new(0) }
    }
}

impl<F> std::fmt::Debug for Stops<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stops").field("count", &self.count).finish_non_exhaustive()
    }
}

impl<F: Fn(usize, &Path) + Send + Sync> FileSystem for Stops<F> {
    fn run(&self, op: Op<'_>) -> io::Result<Option<File>> {
        let number = 2 * self.count.fetch_add(1, Ordering::Relaxed);
        let (_, path) = op.target();
        (self.at)(number, path);
        let done = without_syncs(op);
        (self.at)(number + 1, path);
        done
    }

    fn between_reads(&self) {
        let number = 2 * self.count.fetch_add(1, Ordering::Relaxed);
        (self.at)(number, Path::new(BETWEEN_READS));
    }

    fn synced_alone(&self) -> Option<usize> {
        Some(0)
    }
}
