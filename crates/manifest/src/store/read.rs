//! Reading one blob at any offset, for those who go through its bytes once.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{Store, blob::read_exact_at};
use crate::{Digest, FsError, fs};

/// A blob that is open for reading.
///
/// Its bytes stay readable if the blob is removed or replaced meanwhile. Unlike a mapped blob, one that is cut short is an error and not a
/// signal.
#[derive(Debug)]
pub struct BlobReader {
    file: File,
    path: PathBuf,
}

impl Store {
    /// Opens a blob for reading.
    ///
    /// # Errors
    ///
    /// [`FsError`] if there is no such blob, or something else than a regular file in its place.
    pub fn open_blob(&self, digest: &Digest) -> Result<BlobReader, FsError> {
        let path = self.blob_path(digest);
        let file = fs::open(&path)?;
        Ok(BlobReader { file, path })
    }
}

impl BlobReader {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The length in bytes, as it is now.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the system does not say.
    pub fn byte_len(&self) -> Result<u64, FsError> {
        Ok(self.file.metadata().map_err(FsError::at("read the size of", &self.path))?.len())
    }

    /// Fills `buffer` from `offset`, in bytes from the start of the blob.
    ///
    /// # Errors
    ///
    /// [`FsError`] of the kind [`io::ErrorKind::UnexpectedEof`] if the blob ends before, else with the system's answer.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), FsError> {
        read_exact_at(&self.file, buffer, offset).map_err(|error| {
            let expected = offset.saturating_add(buffer.len() as u64);
            let error = match (error.kind(), self.file.metadata()) {
                (io::ErrorKind::UnexpectedEof, Ok(found)) => {
                    let problem = format!("it has {} bytes, expected at least {expected}", found.len());
                    io::Error::new(io::ErrorKind::UnexpectedEof, problem)
                }
                _ => error,
            };
            FsError::at("read", &self.path)(error)
        })
    }
}
