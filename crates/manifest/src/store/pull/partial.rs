//! A blob that arrives in order, from its start, and may stay unfinished for days.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use super::{super::blob::read_exact_at, open::Pull};
use crate::{
    Digest, FsError, Hasher,
    fs::{self, Disk},
};

/// Number of bytes that are read back at a time.
const COPY: usize = 1 << 20;

/// The file of one blob within a pull. What is there stays if the process ends; the next one reads it back and goes on.
#[derive(Debug)]
pub struct Partial {
    disk: Disk,
    file: File,
    pub(super) path: PathBuf,
    hasher: Hasher,
    at: u64,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// Reason why the file of a blob cannot be finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartialError {
    /// The bytes are others than the digest says. They are removed.
    #[error("the bytes that arrived for {expected} have the digest {found}")]
    Digest {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what arrived.
        found: Digest,
    },
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Pull<'_> {
    /// Opens the file of a blob, with what earlier processes received of it.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the file cannot be opened, read back or made.
    pub fn partial(&self, digest: Digest, size: u64) -> Result<Partial, FsError> {
        Partial::open(&self.store.disk, self.dir.join(partial_name(&digest)), digest, size)
    }
}

impl Pull<'_> {
    /// Number of bytes that are there of a blob, checked by nobody yet.
    #[must_use]
    pub fn partial_len(&self, digest: &Digest) -> u64 {
        self.dir.join(partial_name(digest)).symlink_metadata().map_or(0, |found| found.len())
    }
}

/// File name of an unfinished blob. It is none that a blob in the store has.
pub(super) fn partial_name(digest: &Digest) -> String {
    digest.file_name().replace("sha256-", "part-")
}

impl Partial {
    fn open(disk: &Disk, path: PathBuf, digest: Digest, size: u64) -> Result<Self, FsError> {
        let is_usable = path.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() <= size);
        if !is_usable {
            disk.remove_tree(&path)?;
            let file = disk.create_writable(&path)?;
            return Ok(Self { disk: disk.clone(), file, path, hasher: Hasher::default(), at: 0, digest, size });
        }
        // A complete one may be read-only, as a blob is.
        let is_complete = path.metadata().is_ok_and(|found| found.len() == size);
        let open = || std::fs::OpenOptions::new().read(true).write(!is_complete).open(&path);
        let file = open().map_err(FsError::at("open", &path))?;
        let mut partial = Self { disk: disk.clone(), file, path, hasher: Hasher::default(), at: 0, digest, size };
        partial.read_back()?;
        Ok(partial)
    }

    fn read_back(&mut self) -> Result<(), FsError> {
        let length = self.file.metadata().map_err(FsError::at("read the size of", &self.path))?.len();
        let mut buffer = Vec::new();
        fs::resize(&mut buffer, COPY).map_err(FsError::at("read back", &self.path))?;
        while self.at < length {
            let want = usize::try_from(length - self.at).unwrap_or(usize::MAX).min(COPY);
            read_exact_at(&self.file, &mut buffer[..want], self.at).map_err(FsError::at("read back", &self.path))?;
            self.hasher.update(&buffer[..want]);
            self.at += want as u64;
        }
        Ok(())
    }

    /// Number of bytes that are there.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.at
    }

    /// Path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the next bytes.
    ///
    /// # Errors
    ///
    /// [`FsError`] if they cannot be written, or pass the blob's size.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FsError> {
        let end = self.at.saturating_add(bytes.len() as u64);
        if end > self.size {
            let problem = format!("{end} bytes arrived, expected {}", self.size);
            let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, problem);
            return Err(FsError::at("write to", &self.path)(error));
        }
        self.disk.write_at(&self.file, &self.path, self.at, bytes)?;
        self.hasher.update(bytes);
        self.at = end;
        Ok(())
    }

    /// Forgets what is there, and begins anew.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the file cannot be made anew.
    pub fn restart(self) -> Result<Self, FsError> {
        let Self { disk, path, digest, size, .. } = self;
        disk.remove_file(&path)?;
        Self::open(&disk, path, digest, size)
    }

    /// Checks that all bytes are there and have the digest. Wrong ones are removed.
    ///
    /// # Errors
    ///
    /// [`PartialError::Digest`] if they have another.
    pub fn check(&self) -> Result<(), PartialError> {
        let found = self.hasher.clone().finish();
        if found == self.digest && self.at == self.size {
            return Ok(());
        }
        self.disk.remove_file(&self.path)?;
        Err(PartialError::Digest { expected: self.digest, found })
    }
}
