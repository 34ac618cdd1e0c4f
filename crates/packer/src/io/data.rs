//! The bytes of a shard or a companion file, whatever holds them.

use std::{
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::positioned;

/// Bytes that an import reads: a file's, or whatever else a kind of source has.
///
/// Implemented for paths, which are files, and for bytes in memory.
pub trait Data: fmt::Debug + Send + Sync {
    /// Opens the data for reading by any number of threads.
    ///
    /// # Errors
    ///
    /// The system's answer where the data cannot be opened.
    fn open(&self) -> io::Result<Box<dyn OpenData>>;
}

/// [`Data`] that is open.
pub trait OpenData: Send + Sync {
    /// The length in bytes, as it is now. An import compares it with the length that the source was listed with.
    ///
    /// # Errors
    ///
    /// The system's answer where the length cannot be had.
    fn byte_len(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`, in bytes from the start.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] where the data ends before the buffer is full, else the system's answer.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Data for Path {
    fn open(&self) -> io::Result<Box<dyn OpenData>> {
        Ok(Box::new(File::open(self)?))
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
