//! Blobs mapped into memory: a whole one for [`Weights`](super::Weights), a part of one for whoever hashes it.

use std::{fs::File, io, ops::Deref, path::PathBuf};

use memmap2::Mmap;

/// A blob that cannot be mapped.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
#[non_exhaustive]
pub struct MapError {
    /// The attempted action.
    pub action: &'static str,
    /// The blob's file.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

/// A directory whose files are opened by their names: the system looks up one name for each, not the whole path.
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

        // A pipe is opened at once rather than when someone writes to it, and then it cannot be mapped.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = openat(&self.handle, name, flags, Mode::empty())?;
        Ok(File::from(file))
    }

    #[cfg(not(unix))]
    fn file(&self, name: &str) -> io::Result<File> {
        File::open(self.path.join(name))
    }
}

/// A blob's bytes, mapped read-only.
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
        // SAFETY: a blob of the store has mode 0444 and is never written again once it has its name: it is replaced by a
        // rename or deleted, and both leave the mapped file as it is. Programs that share the layout do the same.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Self(map))
    }
}

/// A part of a blob of a store of our own, for whoever reads it once: its pages are there when this is made, so that a part that
/// cannot be read is an error and not a signal.
#[derive(Debug)]
pub(crate) struct MappedPart(Mmap);

impl MappedPart {
    /// Maps the `length` bytes at `offset` in bytes, a multiple of the page size, and waits for them.
    ///
    /// # Errors
    ///
    /// The system's error: the file ends before, its disk fails, or the kernel cannot populate a map (Linux before 5.14).
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "a map of a part is hashed without a copy")]
    pub(crate) fn read(file: &File, offset: u64, length: usize) -> io::Result<Self> {
        // SAFETY: as for a whole blob.
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
