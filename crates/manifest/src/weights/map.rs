//! Bytes of blobs in memory: mapped, or read if the process has many maps.

use std::{
    fs::File,
    io::{self, Read as _},
    ops::{Deref, Range},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use memmap2::{Mmap, MmapOptions};
#[cfg(target_os = "linux")]
use rustix::io::Errno;

use super::source::Checked;
#[cfg(unix)]
use crate::fs::check_regular;
#[cfg(not(unix))]
use crate::open_regular;

/// Size in bytes below which a blob is read and not mapped once the process has many maps.
const SMALL: usize = 1 << 20;
/// Size in bytes from which a file is worth a hint.
const HINTED: usize = 256 << 10;
/// Alignment in memory of the bytes of a blob that is read, so that its arrays are aligned as in the file.
const ALIGNMENT: usize = 64;

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

/// A file to hold.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Name in the directory, or absolute path.
    pub(super) path: PathBuf,
    /// State of a plain file when its header was read.
    pub(super) checked: Option<Checked>,
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

    /// Opens a file, which must be the one that was checked.
    fn file(&self, wanted: &Wanted) -> io::Result<File> {
        let file = self.open_file(&wanted.path)?;
        match &wanted.checked {
            Some(checked) if !checked.is(&file)? => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "it is not the file any more whose header was read"))
            }
            _ => Ok(file),
        }
    }

    /// An absolute path is opened as it is.
    #[cfg(unix)]
    fn open_file(&self, name: &Path) -> io::Result<File> {
        use rustix::fs::{Mode, OFlags, openat};

        // Opens a pipe at once, without waiting for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::io::retry_on_intr(|| openat(&self.handle, name, flags, Mode::empty()))?;
        let file = File::from(file);
        check_regular(file.metadata()?.file_type())?;
        Ok(file)
    }

    #[cfg(not(unix))]
    fn open_file(&self, name: &Path) -> io::Result<File> {
        open_regular(&self.path.join(name))
    }
}

/// Bytes of a blob: mapped read-only, or in memory that small blobs share.
#[derive(Debug)]
pub(super) enum BlobBytes {
    Mapped { map: Mmap, _counted: Counted },
    Read { memory: Arc<Vec<u8>>, range: Range<usize> },
}

/// Opened blob.
pub(super) enum Opened {
    Mapped(BlobBytes),
    /// Size in bytes of a small blob that is to be read to save a map.
    Small(usize),
}

/// Number of blobs that the process has mapped.
static MAPS: AtomicUsize = AtomicUsize::new(0);

/// One counted map.
#[derive(Debug)]
pub(super) struct Counted(());

impl Counted {
    /// Counts one map, and returns the number before it.
    fn new() -> (Self, usize) {
        let before = MAPS.fetch_add(1, Ordering::Relaxed);
        (Self(()), before)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        MAPS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns the number of maps from which small blobs are read: half of the system's limit for a process. The other half
/// is for large blobs and everything else that the process maps.
pub(super) fn many_maps() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let told = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
        told.and_then(|text| text.trim().parse::<usize>().ok()).map_or(usize::MAX, |limit| limit / 2)
    })
}

impl BlobBytes {
    /// Opens a blob, and maps it unless it is small and the process has at least `many` maps.
    pub(super) fn open(dir: &Dir, wanted: &Wanted, many: usize) -> Result<Opened, MapError> {
        let fail = |action| move |source| MapError { action, path: dir.path.join(&wanted.path), source };
        let file = dir.file(wanted).map_err(fail("open"))?;
        let len = file.metadata().map_err(fail("read the size of"))?.len();
        let len = usize::try_from(len).map_err(|_| fail("map")(io::ErrorKind::FileTooLarge.into()))?;
        let (counted, before) = Counted::new();
        if before >= many && len < SMALL {
            return Ok(Opened::Small(len));
        }
        hint(&file, len);
        let map = map(&file, len).map_err(fail("map"))?;
        Ok(Opened::Mapped(Self::Mapped { map, _counted: counted }))
    }

    /// Reads blobs, given with their lengths, into shared memory, each at a multiple of [`ALIGNMENT`]. An error comes with
    /// the index of its blob.
    pub(super) fn read(dir: &Dir, blobs: &[(&Wanted, usize)]) -> Result<Vec<Self>, (usize, MapError)> {
        let fail =
            |at: usize, action| move |source| (at, MapError { action, path: dir.path.join(&blobs[at].0.path), source });
        let room = blobs.iter().map(|(_, len)| len.next_multiple_of(ALIGNMENT)).sum::<usize>() + ALIGNMENT;
        let mut memory: Vec<u8> = Vec::new();
        memory.try_reserve_exact(room).map_err(|_| fail(0, "read")(io::ErrorKind::OutOfMemory.into()))?;
        // What was reserved does not move any more.
        let first = memory.as_ptr().align_offset(ALIGNMENT);
        memory.resize(first, 0);
        let mut ranges = Vec::with_capacity(blobs.len());
        for (at, (wanted, len)) in blobs.iter().enumerate() {
            let start = memory.len();
            memory.resize(start + len, 0);
            let mut file = dir.file(wanted).map_err(fail(at, "open"))?;
            file.read_exact(&mut memory[start..]).map_err(fail(at, "read"))?;
            ranges.push(start..start + len);
            memory.resize(first + (memory.len() - first).next_multiple_of(ALIGNMENT), 0);
        }
        let memory = Arc::new(memory);
        Ok(ranges.into_iter().map(|range| Self::Read { memory: Arc::clone(&memory), range }).collect())
    }

    /// Whether the bytes are in memory of their own rather than mapped.
    pub(super) fn is_read(&self) -> bool {
        matches!(self, Self::Read { .. })
    }

    /// Loads the pages of `len` bytes from `offset`, which is a multiple of every page size. Returns an error if touching
    /// them would raise a signal. Does nothing where the system cannot load pages in advance.
    pub(super) fn populate(&self, offset: usize, len: usize) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Self::Mapped { map, .. } = self
            && len > 0
        {
            return match map.advise_range(memmap2::Advice::PopulateRead, offset, len) {
                Err(error) if error.raw_os_error() == Some(Errno::FAULT.raw_os_error()) => {
                    Err(io::Error::other("it was cut short while it was mapped, or its disk failed"))
                }
                // A system before 5.14 does not know this.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
                other => other,
            };
        }
        let _ = (offset, len);
        Ok(())
    }
}

/// Has the system begin to read a file that is not in memory, in units that grow from the start of the file on, and does not wait.
///
/// A file that comes by page faults alone comes in small units at first, and a map takes a fault for each few pages of them for as long as they
/// stay in the page cache. `MADV_HUGEPAGE` gives the same maps, but cold reading may take longer with it than without on a virtual machine
/// (benches/README.md has the figures).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn hint(file: &File, len: usize) {
    use rustix::io::{ReadWriteFlags, preadv2};

    if len >= HINTED {
        // An error is one of the hint alone: the page is not there yet, or the system cannot say.
        let mut page = [0; 4096];
        let _ = preadv2(file, &mut [io::IoSliceMut::new(&mut page)], 0, ReadWriteFlags::NOWAIT);
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn hint(_: &File, _: usize) {}

#[expect(unsafe_code, reason = "a map of a blob is how its tensors are there without a copy")]
fn map(file: &File, len: usize) -> io::Result<Mmap> {
    // SAFETY: a blob of the store has mode 0444 and is never written to once it has its name. It is replaced by a
    // rename or deleted, and both leave the mapped file unchanged. Other programs that use the layout do the same. That
    // nobody changes a plain file is the obligation that the documentation of `Source` states.
    unsafe { MmapOptions::new().len(len).map(file) }
}

impl Deref for BlobBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped { map, .. } => map,
            Self::Read { memory, range } => &memory[range.clone()],
        }
    }
}
