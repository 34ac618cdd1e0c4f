//! The trait through which the store makes every change on disk.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
    time::SystemTime,
};

/// One change of a file system. Reading goes directly to the system.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op<'a> {
    /// Creates a file that does not exist, with these permissions on Unix, and opens it for reading and writing.
    Create { path: &'a Path, mode: u32 },
    /// Writes all of `bytes` at `offset`, in bytes from the start of an open file.
    Write { file: &'a File, path: &'a Path, offset: u64, bytes: &'a [u8] },
    /// Sets the time at which the file was last written to.
    SetModified { path: &'a Path, time: SystemTime },
    /// Makes a file's contents durable. `file` is its handle from when it was written: a new one is not told of a write error that the
    /// system met before, once it has forgotten the file.
    SyncFile { path: &'a Path, file: Option<&'a File> },
    /// Makes the entries of a directory durable.
    SyncDir { path: &'a Path },
    /// Makes all changes durable on the file system of the open directory.
    SyncAll { dir: &'a File, path: &'a Path },
    /// Renames a file or directory. Replaces a file that has the new name.
    Rename { from: &'a Path, to: &'a Path },
    /// Renames a file unless the new name is taken.
    RenameNew { from: &'a Path, to: &'a Path },
    /// Removes a file or a symbolic link.
    RemoveFile { path: &'a Path },
    /// Creates a directory in an existing one.
    CreateDir { path: &'a Path },
    /// Removes an empty directory.
    RemoveDir { path: &'a Path },
}

impl Op<'_> {
    /// Returns the attempted action and its path, for errors. The path of a rename is the new one.
    pub(crate) fn target(&self) -> (&'static str, &Path) {
        match *self {
            Op::Create { path, .. } => ("create", path),
            Op::Write { path, .. } => ("write to", path),
            Op::SetModified { path, .. } => ("set the time of", path),
            Op::SyncFile { path, .. } | Op::SyncAll { path, .. } => ("sync", path),
            Op::SyncDir { path } => ("sync the directory", path),
            Op::Rename { to, .. } | Op::RenameNew { to, .. } => ("rename", to),
            Op::RemoveFile { path } | Op::RemoveDir { path } => ("remove", path),
            Op::CreateDir { path } => ("create the directory", path),
        }
    }

    /// Returns the old path of a rename, for errors.
    pub(crate) fn from(&self) -> Option<&Path> {
        match *self {
            Op::Rename { from, .. } | Op::RenameNew { from, .. } => Some(from),
            _ => None,
        }
    }
}

/// Executor of changes: the real system, or in tests one that records them or makes them fail.
pub(crate) trait FileSystem: std::fmt::Debug + Send + Sync {
    /// Carries out one change. [`Op::Create`] returns the open file.
    fn run(&self, op: Op<'_>) -> io::Result<Option<File>>;

    /// Hook for tests, called between two readings whose order matters.
    fn between_reads(&self) {}

    /// Returns the most files that are synced one by one where [`Op::SyncAll`] would do, or `None` if the system does not have that.
    fn synced_alone(&self) -> Option<usize>;
}

/// Number of files that are synced one by one. A sync of the whole file system also waits for what other programs have written, which
/// takes as long as their bytes; many files take longer one by one (benches/README.md has both).
pub(crate) const FEW_FILES: usize = 16;

/// The real file system.
#[derive(Debug)]
pub(crate) struct Real;

impl FileSystem for Real {
    fn run(&self, op: Op<'_>) -> io::Result<Option<File>> {
        match op {
            Op::Create { path, mode } => return create(path, mode).map(Some),
            Op::Write { file, bytes, offset, .. } => write_all_at(file, bytes, offset),
            Op::SetModified { path, time } => open_existing(path)?.set_modified(time),
            Op::SyncFile { file: Some(file), .. } => file.sync_all(),
            Op::SyncFile { path, file: None } => open_existing(path)?.sync_all(),
            Op::SyncDir { path } => sync_dir(path),
            Op::SyncAll { dir, .. } => sync_all(dir),
            Op::Rename { from, to } => fs::rename(from, to),
            Op::RenameNew { from, to } => rename_new(from, to),
            Op::RemoveFile { path } => fs::remove_file(path),
            Op::CreateDir { path } => fs::create_dir(path),
            Op::RemoveDir { path } => fs::remove_dir(path),
        }
        .map(|()| None)
    }

    fn synced_alone(&self) -> Option<usize> {
        cfg!(target_os = "linux").then_some(FEW_FILES)
    }
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)
}

fn open_existing(path: &Path) -> io::Result<File> {
    super::open(path).map_err(|error| error.source)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    // Windows cannot open a directory to sync it. NTFS journals its entries.
    #[cfg(unix)]
    super::open_dir(path)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(target_os = "linux")]
fn sync_all(dir: &File) -> io::Result<()> {
    rustix::io::retry_on_intr(|| rustix::fs::syncfs(dir)).map_err(Into::into)
}

#[cfg(not(target_os = "linux"))]
fn sync_all(_dir: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::{
            fs::{CWD, RenameFlags, renameat_with},
            io::Errno,
        };
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Some network file systems and old kernels have no rename that fails if the new name is taken.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            other => return other.map_err(Into::into),
        }
    }
    // If two processes do this at once, the second replaces a blob with the same blob.
    if to.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn write_all_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    use std::io::{Seek, SeekFrom, Write};
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}
