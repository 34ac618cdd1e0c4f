//! File operations whose errors name the path. Reading functions are here; changes go through a [`Disk`].

mod disk;
#[cfg(test)]
pub(crate) mod record;
mod system;

pub(crate) use disk::Disk;
pub(crate) use system::FEW_FILES;

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// A failed file operation on a path.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot {action} {}{}",
    from.as_deref().map(|from| format!("{} to ", from.display())).unwrap_or_default(),
    path.display()
)]
#[non_exhaustive]
pub struct FsError {
    /// Attempted action: `open`, `create`, `write to`, …
    pub action: &'static str,
    /// File or directory of the action. For a rename, the new path.
    pub path: PathBuf,
    /// Old path of a rename. `None` for any other action.
    pub from: Option<PathBuf>,
    /// Error of the system.
    pub source: io::Error,
}

impl FsError {
    /// Makes the error of `action` on `path`, for a destination of blobs that is no store.
    #[must_use]
    pub fn new(action: &'static str, path: PathBuf, source: io::Error) -> Self {
        Self { action, path, from: None, source }
    }

    /// Returns a function for `map_err` that makes an error of `action` on `path`.
    pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::new(action, path.to_path_buf(), source)
    }

    /// Returns the system's kind of error.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Opens a regular file for reading, like [`open_regular`].
pub(crate) fn open(path: &Path) -> Result<File, FsError> {
    open_regular(path).map_err(FsError::at("open", path))
}

/// Opens a regular file for reading. Anything else is refused at once: opening a pipe would otherwise block until
/// someone writes to it.
///
/// # Errors
///
/// [`io::ErrorKind::IsADirectory`] for a directory, [`io::ErrorKind::InvalidData`] for a pipe, a socket or a device (on
/// Windows a device), else the error of the system.
pub fn open_regular(path: &Path) -> io::Result<File> {
    Ok(open_sized(path)?.0)
}

/// Opens a regular file for reading, like [`open_regular`], and returns what the system says of it.
#[cfg(unix)]
pub(crate) fn open_sized(path: &Path) -> io::Result<(File, fs::Metadata)> {
    let mut options = OpenOptions::new();
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), flags.bits().cast_signed());
    match options.open(path) {
        Ok(file) => {
            let metadata = file.metadata()?;
            check_regular(metadata.file_type()).map(|()| (file, metadata))
        }
        // A socket cannot be opened, and the system's error does not say why.
        Err(error) => {
            Err(path.metadata().ok().and_then(|found| check_regular(found.file_type()).err()).unwrap_or(error))
        }
    }
}

/// Opens a regular file for reading, like [`open_regular`], and returns what the system says of it.
#[cfg(not(unix))]
pub(crate) fn open_sized(path: &Path) -> io::Result<(File, fs::Metadata)> {
    check_regular(path.metadata()?.file_type())?;
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

pub(crate) fn check_regular(kind: fs::FileType) -> io::Result<()> {
    if kind.is_file() {
        Ok(())
    } else if kind.is_dir() {
        Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"))
    }
}

/// Opens a directory, to look up its files or to sync it. Anything else is refused at once.
#[cfg(unix)]
pub(crate) fn open_dir(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let flags = rustix::fs::OFlags::DIRECTORY.bits().cast_signed();
    std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), flags).open(path)
}

/// Whether `path` is a regular file of `size` bytes.
pub(crate) fn is_file_of(path: &Path, size: u64) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.len() == size)
}

/// Whether `path` is a regular file of `size` bytes, or the error that keeps this from being known.
pub(crate) fn has_file_of(path: &Path, size: u64) -> Result<bool, FsError> {
    match path.metadata() {
        Ok(found) => Ok(found.is_file() && found.len() == size),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(FsError::at("read the size of", path)(error)),
    }
}

/// Reads a file of at most `limit` bytes. Returns `Ok(Err(size))` for a larger file.
pub(crate) fn read_at_most(path: &Path, limit: u64) -> Result<Result<Vec<u8>, u64>, FsError> {
    let mut bytes = Vec::new();
    Ok(read_into(path, limit, &mut bytes)?.map(|_| bytes))
}

/// Reads a file of at most `limit` bytes into `bytes`, in place of what is there. Returns `Ok(Err(size))` for a larger file.
pub(crate) fn read_into(path: &Path, limit: u64, bytes: &mut Vec<u8>) -> Result<Result<fs::Metadata, u64>, FsError> {
    let (mut file, metadata) = open_sized(path).map_err(FsError::at("open", path))?;
    let size = metadata.len();
    if size > limit {
        return Ok(Err(size));
    }
    bytes.clear();
    let room = usize::try_from(size).unwrap_or(usize::MAX);
    bytes.try_reserve_exact(room).map_err(|_| FsError::at("read", path)(io::ErrorKind::OutOfMemory.into()))?;
    // Stops at the limit even if the file grows while it is read.
    file.by_ref().take(limit + 1).read_to_end(bytes).map_err(FsError::at("read", path))?;
    let read = bytes.len() as u64;
    Ok(if read > limit { Err(read) } else { Ok(metadata) })
}

/// Resizes `buffer` to `len` zero-extended bytes, or returns an error where the system has no memory for it.
pub(crate) fn resize(buffer: &mut Vec<u8>, len: usize) -> io::Result<()> {
    buffer.try_reserve(len.saturating_sub(buffer.len())).map_err(|_| io::ErrorKind::OutOfMemory)?;
    buffer.resize(len, 0);
    Ok(())
}

/// Lists the entries of a directory, sorted by name. A missing directory has none. A symbolic link has the type of its
/// target. Names that are not UTF-8 are left out, because this crate writes no such names.
pub(crate) fn entries(path: &Path) -> Result<Vec<(String, fs::FileType)>, FsError> {
    let named = all_entries(path)?.into_iter().filter_map(|(name, kind)| Some((name.into_string().ok()?, kind)));
    Ok(named.collect())
}

/// Whether `path` is a directory. A symbolic link is none, and neither is a missing path.
pub(crate) fn is_directory(path: &Path) -> Result<bool, FsError> {
    match path.symlink_metadata() {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(FsError::at("read the type of", path)(error)),
    }
}

/// Opens a directory to list it. If a signal interrupts that, it is tried again; the standard library does so for files
/// only.
pub(crate) fn read_dir(path: &Path) -> io::Result<fs::ReadDir> {
    loop {
        match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Lists the entries of a directory like [`entries`], including names that are not UTF-8.
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
            // A link without a target keeps the type of a link.
            kind = entry.path().metadata().map_or(kind, |target| target.file_type());
        }
        found.push((entry.file_name(), kind));
    }
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}
