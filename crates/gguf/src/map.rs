//! The one place that maps files into memory.

use std::{
    io,
    path::{Path, PathBuf},
};

use memmap2::Mmap;

use crate::{
    Gguf, HeaderError, Limits,
    header::{open_file, regular_len},
};

/// Why a file could not be opened as a GGUF file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is a directory, a pipe or a device.
    #[error("{}: expected a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It cannot be mapped into memory.
    #[error("cannot map {} into memory", path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is not a file that we accept.
    #[error("{} is not a valid GGUF file", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
}

impl OpenError {
    /// The file that it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Open { path, .. }
            | Self::NotAFile { path }
            | Self::Read { path, .. }
            | Self::Map { path, .. }
            | Self::Header { path, .. } => path,
        }
    }
}

/// Maps the file at `path` into memory and parses its header under the default [`Limits`]. Tensors are views of the map: nothing is
/// copied, and pages are read when they are touched.
///
/// Nobody may truncate or change the file while it is mapped: a read beyond its new end kills the process. Read a file from
/// an untrusted source, or one that others write, into a [`Vec`] instead, or through the file that [`Header::open`] returns.
///
/// # Errors
///
/// [`OpenError`], with the path.
///
/// [`Header::open`]: crate::Header::open
pub fn open(path: impl AsRef<Path>) -> Result<Gguf<Mmap>, OpenError> {
    open_with_limits(path, &Limits::default())
}

/// [`open`] under limits of one's own.
///
/// # Errors
///
/// [`OpenError`], with the path.
pub fn open_with_limits(path: impl AsRef<Path>, limits: &Limits) -> Result<Gguf<Mmap>, OpenError> {
    let path = path.as_ref();
    let file = open_file(path)?;
    // The file could have been replaced since it was asked what it is.
    match regular_len(&file) {
        Ok(Some(_)) => {}
        Ok(None) => return Err(OpenError::NotAFile { path: path.into() }),
        Err(source) => return Err(OpenError::Read { path: path.into(), source }),
    }
    #[expect(unsafe_code, reason = "a map of a file is how a model is read without copying it")]
    // SAFETY: the map is read-only and lives no longer than the `Mmap`, which holds it. That nobody changes the file meanwhile
    // cannot be proved here; it is the documented obligation of the caller, as with every map of a file.
    let map = unsafe { Mmap::map(&file) }.map_err(|source| OpenError::Map { path: path.into(), source })?;
    Gguf::with_limits(map, limits).map_err(|source| OpenError::Header { path: path.into(), source })
}
