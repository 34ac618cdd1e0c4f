//! Blobs mapped into memory: whole ones for [`Weights`](super::Weights), and parts for hashing.

use std::{fs::File, io, ops::Deref, path::PathBuf};

use memmap2::Mmap;

/// A blob that cannot be mapped.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
#[non_exhaustive]
pub struct MapError {
    /// Action that failed.
    pub action: &'static str,
    /// Path of the blob's file.
    pub path: PathBuf,
    /// Error of the system.
    pub source: io::Error,
}

/// An open directory whose files are opened by name, so that the system does not resolve the whole path for each file.
pub(super) struct Dir {
    path: PathBuf,
    #[cfg(unix)]
    handle: File,
}

impl Dir {
    pub(super) fn open(path: PathBuf) -> Result<Self, MapError> {
        #[cfg(unix)]
        let handle = match crate::fs::open_dir(&path) {
            Ok(handle) => handle,
            Err(source) => return Err(MapError { action: "open", path, source }),
        };
        Ok(Self {
            path,
            #[cfg(unix)]
            handle,
        })
    }

    #[cfg(unix)]
    fn file(&self, name: &str) -> io::Result<File> {
        use rustix::fs::{Mode, OFlags, openat};

        // Opens a pipe at once, without waiting for a writer. Mapping then fails.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = openat(&self.handle, name, flags, Mode::empty())?;
        Ok(File::from(file))
    }

    #[cfg(not(unix))]
    fn file(&self, name: &str) -> io::Result<File> {
        File::open(self.path.join(name))
    }
}

/// Bytes of a blob, mapped read-only.
#[derive(Debug)]
pub(super) struct MappedBlob(Mmap);

impl MappedBlob {
    pub(super) fn open(dir: &Dir, name: &str) -> Result<Self, MapError> {
        let fail = |action| move |source| MapError { action, path: dir.path.join(name), source };
        let file = dir.file(name).map_err(fail("open"))?;
        Self::map(&file).map_err(fail("map"))
    }

    #[expect(unsafe_code, reason = "a map of a blob is how its tensors are there without a copy")]
    pub(super) fn map(file: &File) -> io::Result<Self> {
        // SAFETY: a blob of the store has mode 0444 and is never written to once it has its name. It is replaced by a
        // rename or deleted, and both leave the mapped file unchanged. Other programs that use the layout do the same.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Self(map))
    }
}

/// Mapped part of a blob of this project's own store, for code that reads the part once. All pages are loaded when it
/// is made, so that a read error is an `Err` and not a signal.
#[derive(Debug)]
pub(crate) struct MappedPart(Mmap);

impl MappedPart {
    /// Maps `length` bytes from `offset`, and waits until they are loaded. `offset` is in bytes from the start of the
    /// file and a multiple of the page size.
    ///
    /// # Errors
    ///
    /// Error of the system: the file is shorter, its disk fails, or the system cannot load pages in advance (only Linux
    /// 5.14 and later can).
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "a map of a part is hashed without a copy")]
    pub(crate) fn read(file: &File, offset: u64, length: usize) -> io::Result<Self> {
        // SAFETY: the same reasons hold as for a whole blob.
        let map = unsafe { memmap2::MmapOptions::new().offset(offset).len(length).map(file) }?;
        map.advise(memmap2::Advice::PopulateRead)?;
        Ok(Self(map))
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn read(_file: &File, _offset: u64, _length: usize) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Deref for MappedPart {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for MappedBlob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
