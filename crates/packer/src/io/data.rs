//! The bytes of a shard or a companion file, in a file or elsewhere.

use std::{
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use longshore_manifest::open_regular;

use super::positioned;

/// Bytes that an import reads: those of a file, or of any other storage that a kind of source has.
///
/// Implemented for paths, which stand for files, and for bytes in memory.
pub trait Data: fmt::Debug + Send + Sync {
    /// Opens the data for reading by any number of threads.
    ///
    /// # Errors
    ///
    /// Returns the error of the system if the data cannot be opened.
    fn open(&self) -> io::Result<Box<dyn OpenData>>;
}

/// [`Data`] that has been opened.
pub trait OpenData: Send + Sync {
    /// The current length in bytes. An import compares it with the length that the source listed.
    ///
    /// # Errors
    ///
    /// Returns the error of the system if the length cannot be read.
    fn byte_len(&self) -> io::Result<u64>;

    /// Fills `buffer` with the bytes that start at `offset`, counted from the start of the data.
    ///
    /// # Errors
    ///
    /// Returns [`io::ErrorKind::UnexpectedEof`] if the data ends before the buffer is full, else the error of the
    /// system.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Data for Path {
    fn open(&self) -> io::Result<Box<dyn OpenData>> {
        Ok(Box::new(open_regular(self)?))
    }
}

impl Data for PathBuf {
    fn open(&self) -> io::Result<Box<dyn OpenData>> {
        Data::open(self.as_path())
    }
}

impl Data for Arc<[u8]> {
    fn open(&self) -> io::Result<Box<dyn OpenData>> {
        Ok(Box::new(Self::clone(self)))
    }
}

impl OpenData for File {
    fn byte_len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        positioned::read_exact_at(self, buffer, offset)
    }
}

impl OpenData for Arc<[u8]> {
    fn byte_len(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).ok().filter(|start| *start <= self.len());
        let rest = start.map(|start| &self[start..]).filter(|rest| rest.len() >= buffer.len());
        let rest = rest.ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(&rest[..buffer.len()]);
        Ok(())
    }
}
