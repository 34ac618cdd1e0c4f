//! Opens a safetensors file as a memory map.

use std::{
    io,
    path::{Path, PathBuf},
};

use memmap2::Mmap;

use crate::{
    HeaderError, SafeTensors,
    header::{open_file, regular_len},
};

/// Error from opening a file as a safetensors file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// Path of the file.
        path: PathBuf,
        /// The underlying I/O error.
        source: io::Error,
    },
    /// The path names a directory, a pipe or a device.
    #[error("{}: expected a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The underlying I/O error.
        source: io::Error,
    },
    /// The file cannot be mapped into memory.
    #[error("cannot map {} into memory", path.display())]
    Map {
        /// Path of the file.
        path: PathBuf,
        /// The underlying I/O error.
        source: io::Error,
    },
    /// The file's header is not valid.
    #[error("{} is not a valid safetensors file", path.display())]
    Header {
        /// Path of the file.
        path: PathBuf,
        /// The fault of the header.
        source: HeaderError,
    },
}

impl OpenError {
    /// Path of the file that the error is about.
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

/// Maps the file at `path` into memory and parses its header. Tensors are views of the map: nothing is copied, and
/// pages are read when they are touched.
///
/// Nobody may truncate or change the file while it is mapped: a read beyond its new end kills the process. Read a file
/// from an untrusted source, or one that others write, into a [`Vec`] instead, or through the file that
/// [`Header::open`] returns.
///
/// # Errors
///
/// [`OpenError`], with the path.
///
/// [`Header::open`]: crate::Header::open
pub fn open(path: impl AsRef<Path>) -> Result<SafeTensors<Mmap>, OpenError> {
    let path = path.as_ref();
    let file = open_file(path)?;
    // The file could have been replaced between `open_file`'s check of its kind and its opening.
    match regular_len(&file) {
        Ok(Some(_)) => {}
        Ok(None) => return Err(OpenError::NotAFile { path: path.into() }),
        Err(source) => return Err(OpenError::Read { path: path.into(), source }),
    }
    #[expect(unsafe_code, reason = "a map of a file is how a model is read without copying it")]
    // SAFETY: the map is read-only, and no slice of it outlives the `Mmap` that owns it. That nobody changes the file
    // meanwhile cannot be proved here; the documentation makes it the caller's obligation, as for every map of a file.
    let map = unsafe { Mmap::map(&file) }.map_err(|source| OpenError::Map { path: path.into(), source })?;
    SafeTensors::new(map).map_err(|source| OpenError::Header { path: path.into(), source })
}
