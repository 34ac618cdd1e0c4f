use std::{fs::File, io, path::Path};

use super::{Header, HeaderError, padding};
use crate::{Limits, OpenError};

/// Bytes of a file that are read at first: the header of most tensors without a vocabulary.
const FIRST: u64 = 1 << 16;

/// Why no header could be read from an open file. The path is not known here; [`OpenError`] carries it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Reading failed.
    #[error("cannot read the header")]
    Io {
        /// The system's error.
        source: io::Error,
    },
    /// It is a directory, a pipe or a device.
    #[error("not a regular file")]
    NotAFile,
    /// The bytes are not a file that we accept.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

impl Header {
    /// Reads the header of an open file and the padding behind its tensors, and nothing of the tensors. On Unix and Windows it reads
    /// at offsets, so threads may share the file; on Unix its cursor stays where it was.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`], [`ReadError::NotAFile`], or [`ReadError::Header`] as [`Self::parse`] and [`Self::check_padding`] do.
    pub fn read_from(file: &File, limits: &Limits) -> Result<Self, ReadError> {
        let read = |bytes: &mut [u8], at| read_exact_at(file, bytes, at).map_err(|source| ReadError::Io { source });
        let file_len = regular_len(file).map_err(|source| ReadError::Io { source })?.ok_or(ReadError::NotAFile)?;
        let mut bytes = Vec::new();
        let mut wanted = FIRST.min(file_len);
        // Nothing in the file says how long its header is: it is read until it is whole.
        let header = loop {
            let have = bytes.len();
            bytes.resize(in_memory(wanted, limits)?, 0);
            read(&mut bytes[have..], have as u64)?;
            match Self::parse(&bytes, file_len, limits) {
                Err(HeaderError::BytesTruncated { expected, .. }) => {
                    wanted = wanted.saturating_mul(2).min(limits.header_bytes).max(expected).min(file_len);
                }
                other => break other?,
            }
        };
        let mut zeros = Vec::new();
        for (tensor, range) in header.padding_after() {
            zeros.resize(in_memory(range.end - range.start, limits)?, 0);
            read(&mut zeros, range.start)?;
            padding::check_zero(&zeros, range.start, Some(tensor))?;
        }
        Ok(header)
    }

    /// Opens the file at `path` for reading and reads its header, as [`Self::read_from`] does.
    ///
    /// # Errors
    ///
    /// [`OpenError`], with the path.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<(File, Self), OpenError> {
        let path = path.as_ref();
        let file = open_file(path)?;
        match Self::read_from(&file, limits) {
            Ok(header) => Ok((file, header)),
            Err(ReadError::Io { source }) => Err(OpenError::Read { path: path.into(), source }),
            Err(ReadError::NotAFile) => Err(OpenError::NotAFile { path: path.into() }),
            Err(ReadError::Header(source)) => Err(OpenError::Header { path: path.into(), source }),
        }
    }
}

/// A byte count as a length in memory. It fails only where a limit was raised beyond that.
fn in_memory(len: u64, limits: &Limits) -> Result<usize, HeaderError> {
    usize::try_from(len).map_err(|_| HeaderError::HeaderTooLong {
        part: super::Part::Padding,
        found: len,
        limit: limits.header_bytes.min(usize::MAX as u64),
    })
}

/// Opens a regular file. What it is gets asked before, as opening a pipe would wait for a writer.
pub(crate) fn open_file(path: &Path) -> Result<File, OpenError> {
    let opened = std::fs::metadata(path)
        .and_then(|metadata| if metadata.is_file() { File::open(path).map(Some) } else { Ok(None) });
    match opened {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(OpenError::NotAFile { path: path.into() }),
        Err(source) => Err(OpenError::Open { path: path.into(), source }),
    }
}

/// The length in bytes, or `None` where it is no regular file.
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
