//! A file's bytes, mapped so that nothing can write through to the file.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use longshore_manifest::weights::Checked;
use longshore_st_format::{Header, HeaderError, Limits, ReadError};
use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw, UncheckedAdvice};
use rustix::param::page_size;

use crate::source::Blocks;

/// A mapped file.
///
/// The mapping is private and writable: MLX may hand the memory of an array that nobody else holds to the operation that reads it,
/// and that operation writes. In a read-only mapping it would end the process. Here the system gives the writer a page of its own,
/// and the file and its other readers keep theirs. Pages that nobody writes are those of the page cache.
#[derive(Debug)]
pub(crate) struct MappedFile {
    map: MmapRaw,
    path: PathBuf,
    id: FileId,
    /// Whether an array has had this memory, and operations may have written into it.
    is_lent: AtomicBool,
    /// The tensors that the memory was made of, where it is no file's.
    made: Option<Blocks>,
}

/// Identity of a file, which tells it from another file of the same name.
type FileId = (u64, u64);

#[cfg(unix)]
fn id(file: &File) -> io::Result<FileId> {
    use std::os::unix::fs::MetadataExt as _;

    file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn id(_: &File) -> io::Result<FileId> {
    Ok((0, 0))
}

/// A private and writable mapping of a whole file.
fn map(file: &File) -> io::Result<MmapMut> {
    let mut options = MmapOptions::new();
    // The output is not known in advance, and is usually empty.
    options.no_reserve_swap();
    #[expect(unsafe_code, reason = "a map of a file is how a model is read without copying it")]
    // SAFETY: references into it end before anyone else has its address. Later only raw pointers are used. That nobody truncates or changes the
    // file meanwhile is the obligation that the crate's documentation states; a store never does.
    unsafe {
        options.map_copy(file)
    }
}

/// A file that cannot be mapped, or is no safetensors file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
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
    /// It cannot be mapped into memory.
    #[error("cannot map {} into memory", path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Its header is not one that we accept.
    #[error("{} is not a valid safetensors file", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The header's error.
        source: HeaderError,
    },
    /// Since it was opened, another file has got its name, or it has got another length.
    #[error("{} is not the file any more that was opened", path.display())]
    Changed {
        /// The path.
        path: PathBuf,
    },
    /// The system cannot read it.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl MappedFile {
    /// Maps the file at `path`, of any format. Reads no data. A plain file must be the one that was `checked`.
    pub(crate) fn open(path: &Path, checked: Option<Checked>) -> Result<Self, FileError> {
        Self::map(path, checked).map(|(mapped, _)| mapped)
    }

    /// Maps the safetensors file at `path` like [`Self::open`] and reads its header, which checks that the file is as long as the
    /// header says.
    pub(crate) fn open_safetensors(path: &Path, checked: Option<Checked>) -> Result<(Self, Header), FileError> {
        let (mapped, file) = Self::map(path, checked)?;
        let header = Header::read_from(&file, &Limits::default()).map_err(|error| match error {
            ReadError::Header(source) => FileError::Header { path: path.into(), source },
            ReadError::Io { source } => FileError::Read { path: path.into(), source },
            _ => FileError::NotAFile { path: path.into() },
        })?;
        if header.file_len() != mapped.len() as u64 {
            return Err(FileError::Changed { path: path.into() });
        }
        Ok((mapped, header))
    }

    fn map(path: &Path, checked: Option<Checked>) -> Result<(Self, File), FileError> {
        let fail = |source| FileError::Open { path: path.into(), source };
        // Asked before the file is opened: opening a pipe waits for someone who writes to it.
        if !std::fs::metadata(path).map_err(fail)?.is_file() {
            return Err(FileError::NotAFile { path: path.into() });
        }
        let file = File::open(path).map_err(fail)?;
        if let Some(checked) = checked
            && !checked.is(&file).map_err(fail)?
        {
            return Err(FileError::Changed { path: path.into() });
        }
        let map = map(&file).map_err(|source| FileError::Map { path: path.into(), source })?;
        Ok((Self::new(map, path, id(&file).map_err(fail)?), file))
    }

    fn new(map: MmapMut, path: &Path, id: FileId) -> Self {
        Self { map: map.into(), path: path.into(), id, is_lent: AtomicBool::new(false), made: None }
    }

    /// Memory that was made of a source's blocks.
    pub(crate) fn made(map: MmapMut, blocks: Blocks) -> Self {
        let path = blocks.name().to_owned();
        Self { made: Some(blocks), ..Self::new(map, &path, FileId::default()) }
    }

    /// Says that an array has this memory.
    #[cfg_attr(not(any(target_os = "macos", longshore_mlx)), expect(dead_code, reason = "only the back end lends"))]
    pub(crate) fn lend(&self) {
        self.is_lent.store(true, Ordering::Relaxed);
    }

    /// Whether an array has had this memory. Then it need not be what the file holds any more.
    pub(crate) fn is_lent(&self) -> bool {
        self.is_lent.load(Ordering::Relaxed)
    }

    /// The same file mapped once more, with memory of its own.
    pub(crate) fn again(&self) -> Result<Self, FileError> {
        let path = || self.path.clone();
        if let Some(blocks) = &self.made {
            let fail = |error| FileError::Read { path: path(), source: io::Error::other(error) };
            let map = blocks.open().map_err(fail)?.into_made();
            let gone = || FileError::Changed { path: path() };
            return Ok(Self::made(map.filter(|map| map.len() == self.len()).ok_or_else(gone)?, blocks.clone()));
        }
        let file = File::open(&self.path).map_err(|source| FileError::Open { path: path(), source })?;
        if id(&file).map_err(|source| FileError::Open { path: path(), source })? != self.id {
            return Err(FileError::Changed { path: path() });
        }
        let map = map(&file).map_err(|source| FileError::Map { path: path(), source })?;
        if map.len() != self.len() {
            return Err(FileError::Changed { path: path() });
        }
        Ok(Self::new(map, &self.path, self.id))
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The length of the file in bytes. The mapping goes on to the end of its last page, where it holds zeros.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// The first byte, at the start of a page.
    pub(crate) fn start(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// Asks for the pages of `len` bytes from `offset`, and returns when they are there, as far as the system has a call for that. Pages that
    /// are not to be had, as the file was cut short or its disk fails, are an error then, and a signal to whoever touches them. Elsewhere it
    /// starts to read them: what is not read yet is read when it is touched.
    pub(crate) fn read_ahead(&self, offset: usize, len: usize) -> Result<(), FileError> {
        let len = len.min(self.len().saturating_sub(offset));
        #[cfg(target_os = "linux")]
        match self.map.advise_range(Advice::PopulateRead, offset, len) {
            // A system before 5.14 does not know this.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::FAULT.raw_os_error()) => {
                let source = io::Error::other("it was cut short while it was mapped, or its disk failed");
                return Err(FileError::Read { path: self.path.clone(), source });
            }
            other => return other.map_err(|source| FileError::Read { path: self.path.clone(), source }),
        }
        let _ = self.map.advise_range(Advice::WillNeed, offset, len);
        Ok(())
    }

    /// Opens the file, to be read without the mapping; it is not held open, as a model may have more files than a process may have open. `None`
    /// where it cannot be opened or another file has its name: the mapping still has the bytes then.
    #[cfg_attr(not(any(target_os = "macos", longshore_mlx)), expect(dead_code, reason = "only the back end reads"))]
    pub(crate) fn reopen(&self) -> Result<Option<File>, FileError> {
        if self.made.is_some() {
            return Ok(None);
        }
        let Ok(file) = File::open(&self.path) else { return Ok(None) };
        let fail = |source| FileError::Read { path: self.path.clone(), source };
        if !cfg!(unix) || id(&file).map_err(fail)? != self.id {
            return Ok(None);
        }
        // Where it is shorter than it was, the mapping does not have the bytes either: who touches them is ended by the system.
        if file.metadata().map_err(fail)?.len() != self.len() as u64 {
            return Err(FileError::Changed { path: self.path.clone() });
        }
        Ok(Some(file))
    }

    /// Reads bytes from `offset`, as many as `to` holds, of the file as it was opened again.
    #[cfg_attr(not(any(target_os = "macos", longshore_mlx)), expect(dead_code, reason = "only the back end reads"))]
    pub(crate) fn read(&self, file: &File, offset: usize, to: &mut [u8]) -> Result<(), FileError> {
        #[cfg(unix)]
        let outcome = std::os::unix::fs::FileExt::read_exact_at(file, to, offset as u64);
        #[cfg(not(unix))]
        let outcome = {
            let _ = (file, offset, to);
            Err(io::ErrorKind::Unsupported.into())
        };
        outcome.map_err(|source| FileError::Read { path: self.path.clone(), source })
    }

    /// Like [`Self::read_ahead`], for the pages that a range of any bounds touches.
    #[cfg_attr(not(any(target_os = "macos", longshore_mlx)), expect(dead_code, reason = "only the back end reads"))]
    pub(crate) fn read_ahead_pages(&self, offset: usize, len: usize) -> Result<(), FileError> {
        let start = offset / page_size() * page_size();
        self.read_ahead(start, offset + len - start)
    }

    /// Gives back the pages that lie in `len` bytes from `offset` whole, which nobody has written. They stay in the page cache, and what
    /// is read once more is mapped once more.
    #[cfg_attr(not(any(target_os = "macos", longshore_mlx)), expect(dead_code, reason = "only the back end reads"))]
    #[expect(unsafe_code, reason = "pages that were written would lose what was written")]
    pub(crate) fn forget(&self, offset: usize, len: usize) {
        let start = offset.next_multiple_of(page_size());
        let end = if offset + len >= self.len() { self.len() } else { (offset + len) / page_size() * page_size() };
        if start < end && !self.is_lent() && self.made.is_none() {
            // SAFETY: on Linux a private page that was not written is read again from the file. Nobody has written these: no array has
            // them, and nothing else writes. A hint elsewhere.
            let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
        }
    }

    /// Copies bytes of the file from `offset`, as many as `to` holds and the file has.
    #[cfg_attr(not(any(target_os = "macos", longshore_mlx)), expect(dead_code, reason = "only the back end reads"))]
    #[expect(unsafe_code, reason = "the bytes may be those of an array, which nobody may borrow")]
    pub(crate) fn copy(&self, offset: usize, to: &mut [u8]) {
        let len = to.len().min(self.len().saturating_sub(offset));
        if len > 0 {
            // SAFETY: the offset is below the length.
            let from = unsafe { self.start().add(offset) };
            // SAFETY: the bytes lie in the mapping, and in `to`, which is somebody else's memory. Arrays over them are written by
            // operations at most, and then what is read here means nothing to anybody.
            unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), len) };
        }
    }
}
