use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{Header, HeaderError, PREFIX_LEN, parse};
use crate::{Limits, OpenError};

/// Error from reading the header of an open file. It does not know the path; [`OpenError`] does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Reading failed.
    #[error("cannot read the header")]
    Io {
        /// The underlying I/O error.
        source: io::Error,
    },
    /// The file is a directory, a pipe or a device.
    #[error("not a regular file")]
    NotAFile,
    /// The bytes are not a valid header.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

impl ReadError {
    /// The same error of the file at `path`.
    #[must_use]
    pub fn at(self, path: PathBuf) -> OpenError {
        match self {
            Self::Io { source } => OpenError::Read { path, source },
            Self::NotAFile => OpenError::NotAFile { path },
            Self::Header(source) => OpenError::Header { path, source },
        }
    }
}

impl Header {
    /// Reads the prefix and the header of an open file, and none of its data. On Unix and Windows it reads at offsets,
    /// so threads may share the file. On Unix the file's cursor does not move.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`], [`ReadError::NotAFile`], or [`ReadError::Header`] with an error of [`Self::parse`].
    pub fn read_from(file: &File, limits: &Limits) -> Result<Self, ReadError> {
        let file_len = regular_len(file).map_err(|source| ReadError::Io { source })?.ok_or(ReadError::NotAFile)?;
        Self::read_at(file_len, limits, |buffer, offset| read_exact_at(file, buffer, offset))
    }

    /// Reads prefix and header of a file that anything may hold. `read_exact_at` fills a buffer from an offset in bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::read_from`], but never [`ReadError::NotAFile`].
    pub fn read_at(
        file_len: u64,
        limits: &Limits,
        read_exact_at: impl Fn(&mut [u8], u64) -> io::Result<()>,
    ) -> Result<Self, ReadError> {
        if file_len < PREFIX_LEN {
            return Err(HeaderError::PrefixTruncated { file_len }.into());
        }
        let mut prefix = [0; size_of::<u64>()];
        read_exact_at(&mut prefix, 0).map_err(|source| ReadError::Io { source })?;
        let data_start = parse::data_start(prefix, file_len, limits)?;
        let len = usize::try_from(data_start)
            .map_err(|_| HeaderError::HeaderTooLong { found: data_start - PREFIX_LEN, limit: usize::MAX as u64 })?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| ReadError::Io { source: io::ErrorKind::OutOfMemory.into() })?;
        bytes.resize(len, 0);
        read_exact_at(&mut bytes, 0).map_err(|source| ReadError::Io { source })?;
        Ok(Self::parse(&bytes, file_len, limits)?)
    }

    /// Opens the file at `path` and reads its header as [`Self::read_from`] does.
    ///
    /// # Errors
    ///
    /// [`OpenError`], with the path.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<(File, Self), OpenError> {
        let path = path.as_ref();
        let file = open_file(path)?;
        match Self::read_from(&file, limits) {
            Ok(header) => Ok((file, header)),
            Err(error) => Err(error.at(path.into())),
        }
    }
}

/// Opens a regular file. The kind of file is checked before it is opened, because opening a pipe would wait for a
/// writer.
pub(crate) fn open_file(path: &Path) -> Result<File, OpenError> {
    let opened = std::fs::metadata(path)
        .and_then(|metadata| if metadata.is_file() { File::open(path).map(Some) } else { Ok(None) });
    match opened {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(OpenError::NotAFile { path: path.into() }),
        Err(source) => Err(OpenError::Open { path: path.into(), source }),
    }
}

/// Returns the length of `file` in bytes, or `None` where it is not a regular file.
pub(crate) fn regular_len(file: &File) -> io::Result<Option<u64>> {
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some(metadata.len()))
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        let read = match std::os::windows::fs::FileExt::seek_read(file, buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        buffer = &mut buffer[read..];
        offset += read as u64;
    }
    Ok(())
}

#[cfg(not(any(unix, windows)))]
fn read_exact_at(mut file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(buffer)
}
