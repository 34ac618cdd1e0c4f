//! The one door through which the store changes anything on disk.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
    time::SystemTime,
};

/// One change of a file system. Reading needs none.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op<'a> {
    /// Makes a file that is not there yet, with these permissions on Unix, and opens it for reading and writing.
    Create { path: &'a Path, mode: u32 },
    /// Writes all of `bytes` at `offset`, in bytes from the start of an open file.
    Write { file: &'a File, path: &'a Path, offset: u64, bytes: &'a [u8] },
    /// Sets when the file was last written to.
    SetModified { path: &'a Path, time: SystemTime },
    /// Makes a file's contents durable.
    SyncFile { path: &'a Path },
    /// Makes the entries of a directory durable.
    SyncDir { path: &'a Path },
    /// Makes everything durable that was done to the file system on which the open directory lies.
    SyncAll { dir: &'a File, path: &'a Path },
    /// Gives a file or directory another name, in place of the file that has it.
    Rename { from: &'a Path, to: &'a Path },
    /// Gives a file another name, unless there is one of that name.
    RenameNew { from: &'a Path, to: &'a Path },
    /// Removes a file or a symbolic link.
    RemoveFile { path: &'a Path },
    /// Makes a directory in one that exists.
    CreateDir { path: &'a Path },
    /// Removes an empty directory.
    RemoveDir { path: &'a Path },
}

impl Op<'_> {
    /// What is tried, for errors, and on which path: the new one of a rename.
    pub(crate) fn target(&self) -> (&'static str, &Path) {
        match *self {
            Op::Create { path, .. } => ("create", path),
            Op::Write { path, .. } => ("write to", path),
            Op::SetModified { path, .. } => ("set the time of", path),
            Op::SyncFile { path } | Op::SyncAll { path, .. } => ("sync", path),
            Op::SyncDir { path } => ("sync the directory", path),
            Op::Rename { to, .. } | Op::RenameNew { to, .. } => ("rename", to),
            Op::RemoveFile { path } | Op::RemoveDir { path } => ("remove", path),
            Op::CreateDir { path } => ("create the directory", path),
        }
    }

    /// The old path of a rename, for errors.
    pub(crate) fn from(&self) -> Option<&Path> {
        match *self {
            Op::Rename { from, .. } | Op::RenameNew { from, .. } => Some(from),
            _ => None,
        }
    }
}

/// What carries out changes: the system, or in tests something that records them or lets them fail.
pub(crate) trait FileSystem: std::fmt::Debug + Send + Sync {
    /// Carries out one change. The answer to [`Op::Create`] is the open file.
    fn run(&self, op: Op<'_>) -> io::Result<Option<File>>;

    /// Called between two readings whose order matters, for tests to step in.
    fn between_reads(&self) {}

    /// Whether there is [`Op::SyncAll`]. Otherwise every file is synced by itself.
    fn can_sync_all(&self) -> bool;
}

/// The system's own.
#[derive(Debug)]
pub(crate) struct Real;

impl FileSystem for Real {
    fn run(&self, op: Op<'_>) -> io::Result<Option<File>> {
        match op {
            Op::Create { path, mode } => return create(path, mode).map(Some),
            Op::Write { file, bytes, offset, .. } => write_all_at(file, bytes, offset),
            Op::SetModified { path, time } => open_existing(path)?.set_modified(time),
            Op::SyncFile { path } => open_existing(path)?.sync_all(),
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

    fn can_sync_all(&self) -> bool {
        cfg!(target_os = "linux")
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
    // Windows has no handle to sync a directory with; NTFS journals its entries.
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
            // Some network file systems and old kernels cannot do both at once.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            other => return other.map_err(Into::into),
        }
    }
    // Where two do this at once, the second puts the same blob in the place of the first.
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
