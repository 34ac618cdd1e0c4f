//! File operations whose errors name the path: reading here, changes through a [`Disk`].

mod disk;
#[cfg(test)]
pub(crate) mod record;
mod system;

pub(crate) use disk::Disk;

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// A file operation that failed, and on which path.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot {action} {}{}",
    from.as_deref().map(|from| format!("{} to ", from.display())).unwrap_or_default(),
    path.display()
)]
#[non_exhaustive]
pub struct FsError {
    /// What was tried: `open`, `create`, `write to`, …
    pub action: &'static str,
    /// The file or directory; where it was to be renamed, its new path.
    pub path: PathBuf,
    /// The path that was to be renamed; `None` for any other action.
    pub from: Option<PathBuf>,
    /// What the system answered.
    pub source: io::Error,
}

impl FsError {
    /// An error of `action` on `path`, for use in `map_err`.
    pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_path_buf(), from: None, source }
    }

    /// The system's kind of error.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Opens a regular file for reading, and refuses anything else without waiting for it: a pipe in a store would keep whoever
/// opens it until someone writes to it. A directory is [`io::ErrorKind::IsADirectory`], the rest
/// [`io::ErrorKind::InvalidData`].
pub(crate) fn open(path: &Path) -> Result<File, FsError> {
    open_regular(path).map_err(FsError::at("open", path))
}

#[cfg(unix)]
fn open_regular(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), flags.bits().cast_signed());
    match options.open(path) {
        Ok(file) => check_regular(file.metadata()?.file_type()).map(|()| file),
        // A socket cannot be opened at all, and the system's words for it do not say why.
        Err(error) => {
            Err(path.metadata().ok().and_then(|found| check_regular(found.file_type()).err()).unwrap_or(error))
        }
    }
}

#[cfg(not(unix))]
fn open_regular(path: &Path) -> io::Result<File> {
    check_regular(path.metadata()?.file_type())?;
    File::open(path)
}

fn check_regular(kind: fs::FileType) -> io::Result<()> {
    if kind.is_file() {
        Ok(())
    } else if kind.is_dir() {
        Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"))
    }
}

/// Opens a directory, to look up its files or to sync it; anything else is refused without waiting for it.
#[cfg(unix)]
pub(crate) fn open_dir(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let flags = rustix::fs::OFlags::DIRECTORY.bits().cast_signed();
    std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), flags).open(path)
}

/// Whether there is a regular file of this size in bytes.
pub(crate) fn is_file_of(path: &Path, size: u64) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.len() == size)
}

/// The whole file, if it has at most `limit` bytes; `Ok(Err(size))` where it has more.
pub(crate) fn read_at_most(path: &Path, limit: u64) -> Result<Result<Vec<u8>, u64>, FsError> {
    let mut file = open(path)?;
    let size = file.metadata().map_err(FsError::at("read the size of", path))?.len();
    if size > limit {
        return Ok(Err(size));
    }
    let mut bytes = Vec::new();
    let room = usize::try_from(size).unwrap_or(usize::MAX);
    bytes.try_reserve_exact(room).map_err(|_| FsError::at("read", path)(io::ErrorKind::OutOfMemory.into()))?;
    // A file that grows while it is read is still cut off at the limit.
    file.by_ref().take(limit + 1).read_to_end(&mut bytes).map_err(FsError::at("read", path))?;
    let read = bytes.len() as u64;
    Ok(if read > limit { Err(read) } else { Ok(bytes) })
}

/// Gives `buffer` this length, as long as the system has memory for it.
pub(crate) fn resize(buffer: &mut Vec<u8>, len: usize) -> io::Result<()> {
    buffer.try_reserve(len.saturating_sub(buffer.len())).map_err(|_| io::ErrorKind::OutOfMemory)?;
    buffer.resize(len, 0);
    Ok(())
}

/// The entries of a directory, sorted by name; none where it does not exist. A symbolic link counts as what it leads to.
/// Names that are not UTF-8 are left out: nothing that this crate writes has one.
pub(crate) fn entries(path: &Path) -> Result<Vec<(String, fs::FileType)>, FsError> {
    let named = all_entries(path)?.into_iter().filter_map(|(name, kind)| Some((name.into_string().ok()?, kind)));
    Ok(named.collect())
}

/// Opens a directory to list it, again where that is interrupted: the standard library does so for files alone.
pub(crate) fn read_dir(path: &Path) -> io::Result<fs::ReadDir> {
    loop {
        match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// As [`entries`], and with names that are not UTF-8.
pub(crate) fn all_entries(path: &Path) -> Result<Vec<(OsString, fs::FileType)>, FsError> {
    let reader = match read_dir(path) {
        Ok(reader) => reader,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FsError::at("list", path)(error)),
    };
    let mut found = Vec::new();
    for entry in reader {
        let entry = entry.map_err(FsError::at("list", path))?;
        let mut kind = entry.file_type().map_err(FsError::at("list", path))?;
        if kind.is_symlink() {
            // One that leads nowhere stays a link.
            kind = entry.path().metadata().map_or(kind, |target| target.file_type());
        }
        found.push((entry.file_name(), kind));
    }
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}
