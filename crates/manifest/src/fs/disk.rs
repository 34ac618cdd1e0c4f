//! Changes of the disk whose errors name the path.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{
    FsError, entries,
    system::{FileSystem, Op, Real},
};

/// Files that only their owner may write to, and nobody after they are closed.
const READ_ONLY: u32 = 0o444;
/// Files of which the owner may write more.
const WRITABLE: u32 = 0o644;

/// A file system that can be changed.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<dyn FileSystem>);

impl Default for Disk {
    fn default() -> Self {
        Self(Arc::new(Real))
    }
}

impl Disk {
    /// One whose changes somebody else carries out.
    #[cfg(test)]
    pub(crate) fn of(system: Arc<dyn FileSystem>) -> Self {
        Self(system)
    }

    fn run(&self, op: Op<'_>) -> Result<Option<File>, FsError> {
        self.0.run(op).map_err(|source| {
            let (action, path) = op.target();
            FsError { action, path: path.to_path_buf(), from: op.from().map(Path::to_path_buf), source }
        })
    }

    /// Creates a file that becomes a blob.
    pub(crate) fn create(&self, path: &Path) -> Result<File, FsError> {
        self.create_with(path, READ_ONLY)
    }

    /// Creates a file that is written to later.
    pub(crate) fn create_writable(&self, path: &Path) -> Result<File, FsError> {
        self.create_with(path, WRITABLE)
    }

    fn create_with(&self, path: &Path, mode: u32) -> Result<File, FsError> {
        let file = self.run(Op::Create { path, mode })?;
        Ok(file.expect("BUG: creating gives the file"))
    }

    /// Creates a small file with this content.
    pub(crate) fn write_new(&self, path: &Path, content: &[u8]) -> Result<(), FsError> {
        let file = self.create_writable(path)?;
        self.write_at(&file, path, 0, content)
    }

    pub(crate) fn write_at(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), FsError> {
        self.run(Op::Write { file, path, offset, bytes }).map(drop)
    }

    pub(crate) fn set_modified(&self, path: &Path, time: SystemTime) -> Result<(), FsError> {
        self.run(Op::SetModified { path, time }).map(drop)
    }

    /// Makes a file's contents durable.
    pub(crate) fn sync_file(&self, path: &Path) -> Result<(), FsError> {
        self.run(Op::SyncFile { path }).map(drop)
    }

    /// Makes the entries of a directory durable.
    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), FsError> {
        self.run(Op::SyncDir { path }).map(drop)
    }

    /// See [`FileSystem::between_reads`].
    pub(crate) fn between_reads(&self) {
        self.0.between_reads();
    }

    /// Makes the contents of all `files` durable: with one call for any number of them where the system has it. `handle` is the
    /// directory `dir` in which they lie, opened before they were written: the call reports the write errors since then.
    pub(crate) fn sync_files<'p>(
        &self,
        handle: Option<&File>,
        dir: &Path,
        files: impl Iterator<Item = &'p Path>,
    ) -> Result<(), FsError> {
        match handle {
            Some(handle) if self.0.can_sync_all() => self.run(Op::SyncAll { dir: handle, path: dir }).map(drop),
            _ => {
                for path in files {
                    self.sync_file(path)?;
                }
                self.sync_dir(dir)
            }
        }
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), FsError> {
        self.run(Op::Rename { from, to }).map(drop)
    }

    /// Renames unless there is a file of the new name: then the answer is `false`.
    pub(crate) fn rename_new(&self, from: &Path, to: &Path) -> Result<bool, FsError> {
        match self.run(Op::RenameNew { from, to }) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// Removes a file; one that is not there is no error.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), FsError> {
        unless_absent(self.run(Op::RemoveFile { path }).map(drop))
    }

    pub(crate) fn remove_dir(&self, path: &Path) -> Result<(), FsError> {
        self.run(Op::RemoveDir { path }).map(drop)
    }

    pub(crate) fn create_dir(&self, path: &Path) -> Result<(), FsError> {
        self.run(Op::CreateDir { path }).map(drop)
    }

    /// Makes a directory and its parents; returns the parents whose entries changed, to be synced.
    pub(crate) fn create_dir_all(&self, path: &Path) -> Result<Vec<PathBuf>, FsError> {
        let mut missing = Vec::new();
        let mut at = path;
        while !at.is_dir() {
            missing.push(at);
            match at.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => at = parent,
                _ => break,
            }
        }
        for dir in missing.iter().rev() {
            match self.create_dir(dir) {
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
                other => other?,
            }
        }
        Ok(missing.into_iter().filter_map(|dir| dir.parent().map(directory_or_here)).collect())
    }

    /// Removes a file, or a directory with everything in it; one that is gone already is no error. A symbolic link is removed and
    /// not followed. The first failure is reported after everything else has been removed.
    pub(crate) fn remove_tree(&self, path: &Path) -> Result<(), FsError> {
        if !path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            return self.remove_file(path);
        }
        let mut result = Ok(());
        for entry in super::read_dir(path).map_err(FsError::at("list", path))? {
            let removed = entry.map_err(FsError::at("list", path)).and_then(|entry| self.remove_tree(&entry.path()));
            result = result.and(removed);
        }
        result.and_then(|()| unless_absent(self.remove_dir(path)))
    }

    /// Makes the entries of a directory and of its subdirectories durable, `depth` levels down.
    pub(crate) fn sync_tree(&self, path: &Path, depth: usize) -> Result<(), FsError> {
        if depth > 0 {
            for (name, _) in entries(path)?.into_iter().filter(|(_, kind)| kind.is_dir()) {
                self.sync_tree(&path.join(name), depth - 1)?;
            }
        }
        // Removed meanwhile, or not there yet: whoever does it syncs the parent.
        unless_absent(self.sync_dir(path))
    }
}

fn directory_or_here(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_path_buf() }
}

fn unless_absent(result: Result<(), FsError>) -> Result<(), FsError> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
