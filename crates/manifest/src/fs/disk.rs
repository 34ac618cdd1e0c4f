//! Changes of the file system. Each error names the path.

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

/// Permissions of a file that nobody may write to once it is closed.
const READ_ONLY: u32 = 0o444;
/// Permissions of a file that its owner may write to again.
const WRITABLE: u32 = 0o644;

/// Handle through which the store changes a file system.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<dyn FileSystem>);

impl Default for Disk {
    fn default() -> Self {
        Self(Arc::new(Real))
    }
}

impl Disk {
    /// Makes a handle whose changes are carried out by `system`.
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

    /// Creates a file that will become a blob.
    pub(crate) fn create(&self, path: &Path) -> Result<File, FsError> {
        self.create_with(path, READ_ONLY)
    }

    /// Creates a file that is written to again later.
    pub(crate) fn create_writable(&self, path: &Path) -> Result<File, FsError> {
        self.create_with(path, WRITABLE)
    }

    fn create_with(&self, path: &Path, mode: u32) -> Result<File, FsError> {
        let file = self.run(Op::Create { path, mode })?;
        Ok(file.expect("BUG: creating gives the file"))
    }

    /// Creates a small file with `content`, and returns its handle.
    pub(crate) fn write_new(&self, path: &Path, content: &[u8]) -> Result<File, FsError> {
        let file = self.create_writable(path)?;
        self.write_at(&file, path, 0, content)?;
        Ok(file)
    }

    pub(crate) fn write_at(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), FsError> {
        self.run(Op::Write { file, path, offset, bytes }).map(drop)
    }

    pub(crate) fn set_modified(&self, path: &Path, time: SystemTime) -> Result<(), FsError> {
        self.run(Op::SetModified { path, time }).map(drop)
    }

    /// Makes the contents of a file durable.
    pub(crate) fn sync_file(&self, path: &Path) -> Result<(), FsError> {
        self.sync_handle(path, None)
    }

    /// Makes the contents of a file durable by the handle that wrote it, if there is one.
    pub(crate) fn sync_handle(&self, path: &Path, file: Option<&File>) -> Result<(), FsError> {
        self.run(Op::SyncFile { path, file }).map(drop)
    }

    /// Makes the entries of a directory durable.
    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), FsError> {
        self.run(Op::SyncDir { path }).map(drop)
    }

    /// Calls [`FileSystem::between_reads`].
    pub(crate) fn between_reads(&self) {
        self.0.between_reads();
    }

    /// Makes the contents of all `files` durable, with one system call for all of them if the system has one. `handle` is their directory
    /// `dir`, opened before they were written: the call reports the write errors since then. A few files of which
    /// each has its handle from when it was written are synced one by one.
    pub(crate) fn sync_files<'p>(
        &self,
        handle: Option<&File>,
        dir: &Path,
        files: impl Iterator<Item = (&'p Path, Option<&'p File>)>,
    ) -> Result<(), FsError> {
        let files: Vec<_> = files.collect();
        let are_known = files.iter().all(|(_, file)| file.is_some());
        match (handle, self.0.synced_alone()) {
            (Some(handle), Some(few)) if files.len() > few || !are_known => {
                self.run(Op::SyncAll { dir: handle, path: dir }).map(drop)
            }
            _ => {
                for (path, file) in files {
                    self.sync_handle(path, file)?;
                }
                self.sync_dir(dir)
            }
        }
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), FsError> {
        self.run(Op::Rename { from, to }).map(drop)
    }

    /// Renames a file unless the new name is taken. Returns whether it was renamed.
    pub(crate) fn rename_new(&self, from: &Path, to: &Path) -> Result<bool, FsError> {
        match self.run(Op::RenameNew { from, to }) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// Removes a file. A missing file is not an error.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), FsError> {
        unless_absent(self.run(Op::RemoveFile { path }).map(drop))
    }

    pub(crate) fn remove_dir(&self, path: &Path) -> Result<(), FsError> {
        self.run(Op::RemoveDir { path }).map(drop)
    }

    pub(crate) fn create_dir(&self, path: &Path) -> Result<(), FsError> {
        self.run(Op::CreateDir { path }).map(drop)
    }

    /// Creates a directory and its missing parents. Returns the directories whose entries changed and have to be
    /// synced.
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
                // Another process created the directory first.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
                other => other?,
            }
        }
        Ok(missing.into_iter().filter_map(|dir| dir.parent().map(directory_or_here)).collect())
    }

    /// Removes a file, or a directory with all its contents. A missing path is not an error. A symbolic link is
    /// removed, not followed. The first failure is returned after everything else has been removed.
    pub(crate) fn remove_tree(&self, path: &Path) -> Result<(), FsError> {
        if !super::is_directory(path)? {
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
        // A missing directory was removed, or is not created yet. Whoever removes or creates it syncs the parent.
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A system that syncs up to two files alone, and notes what it is asked for.
    #[derive(Debug, Default)]
    struct Noting(Mutex<Vec<&'static str>>);

    impl FileSystem for Noting {
        fn run(&self, op: Op<'_>) -> io::Result<Option<File>> {
            self.0.lock().unwrap().push(match op {
                Op::SyncFile { file: Some(_), .. } => "handle",
                Op::SyncFile { file: None, .. } => "path",
                Op::SyncDir { .. } => "directory",
                Op::SyncAll { .. } => "all",
                _ => "other",
            });
            Ok(None)
        }

        fn synced_alone(&self) -> Option<usize> {
            Some(2)
        }
    }

    #[test]
    fn a_few_files_are_synced_by_the_handles_that_wrote_them() {
        let dir = tempfile::tempdir().unwrap();
        let (handle, path) = (super::super::open_dir(dir.path()).unwrap(), dir.path());
        let file = tempfile::tempfile().unwrap();
        let synced = |handle: Option<&File>, files: &[Option<&File>]| {
            let noting = Arc::new(Noting::default());
            let disk = Disk::of(Arc::clone(&noting) as Arc<dyn FileSystem>);
            disk.sync_files(handle, path, files.iter().map(|file| (path, *file))).unwrap();
            noting.0.lock().unwrap().clone()
        };
        assert_eq!(synced(Some(&handle), &[Some(&file); 2]), ["handle", "handle", "directory"]);
        assert_eq!(synced(Some(&handle), &[Some(&file); 3]), ["all"]);
        // A new handle would not be told of an earlier write error.
        assert_eq!(synced(Some(&handle), &[Some(&file), None]), ["all"]);
        assert_eq!(synced(None, &[Some(&file), None]), ["handle", "path", "directory"]);
        assert_eq!(Real.synced_alone(), cfg!(target_os = "linux").then_some(16));
    }
}
