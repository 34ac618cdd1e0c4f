//! The bytes of blobs in memory: mapped, or read where maps run short.

use std::{
    fs::File,
    io::{self, Read as _},
    ops::{Deref, Range},
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use memmap2::{Mmap, MmapOptions};
#[cfg(target_os = "linux")]
use rustix::io::Errno;

/// A blob of fewer bytes is read rather than mapped once maps run short.
const SMALL: usize = 1 << 20;
/// Where the bytes of a blob that is read start: a multiple of this, so that its arrays lie as they do in the file.
const ALIGNMENT: usize = 64;

/// A blob that cannot be mapped.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
#[non_exhaustive]
pub struct MapError {
    /// What was tried.
    pub action: &'static str,
    /// The blob's file.
    pub path: PathBuf,
    /// What the system answered.
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
        let file = rustix::io::retry_on_intr(|| openat(&self.handle, name, flags, Mode::empty()))?;
        Ok(File::from(file))
    }

    #[cfg(not(unix))]
    fn file(&self, name: &str) -> io::Result<File> {
        File::open(self.path.join(name))
    }
}

/// A blob's bytes, mapped read-only, or in memory that small blobs share.
#[derive(Debug)]
pub(super) enum BlobBytes {
    Mapped { map: Mmap, _counted: Counted },
    Read { memory: Arc<Vec<u8>>, range: Range<usize> },
}

/// A blob that was opened.
pub(super) enum Opened {
    Mapped(BlobBytes),
    /// It has few bytes, here their number, and maps are to be saved.
    Small(usize),
}

/// The maps of blobs that the process has.
static MAPS: AtomicUsize = AtomicUsize::new(0);

/// One of the maps that are counted.
#[derive(Debug)]
pub(super) struct Counted(());

impl Counted {
    /// Counts one more, and says how many there were.
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

/// The number of maps from which on small blobs are read: half of what the system lets a process have. The rest is for large blobs and for
/// whatever else the process maps.
pub(super) fn many_maps() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let told = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
        told.and_then(|text| text.trim().parse::<usize>().ok()).map_or(usize::MAX, |limit| limit / 2)
    })
}

impl BlobBytes {
    /// Opens a blob, and maps it unless it is small and the process has `many` maps.
    pub(super) fn open(dir: &Dir, name: &str, many: usize) -> Result<Opened, MapError> {
        let fail = |action| move |source| MapError { action, path: dir.path.join(name), source };
        let file = dir.file(name).map_err(fail("open"))?;
        let len = file.metadata().map_err(fail("read the size of"))?.len();
        let len = usize::try_from(len).map_err(|_| fail("map")(io::ErrorKind::FileTooLarge.into()))?;
        let (counted, before) = Counted::new();
        if before >= many && len < SMALL {
            return Ok(Opened::Small(len));
        }
        let map = map(&file, len).map_err(fail("map"))?;
        Ok(Opened::Mapped(Self::Mapped { map, _counted: counted }))
    }

    /// Reads blobs of these names and lengths into memory that they share, each at a multiple of [`ALIGNMENT`]. An error comes with the
    /// number of its blob.
    pub(super) fn read(dir: &Dir, blobs: &[(&str, usize)]) -> Result<Vec<Self>, (usize, MapError)> {
        let fail =
            |at: usize, action| move |source| (at, MapError { action, path: dir.path.join(blobs[at].0), source });
        let room = blobs.iter().map(|(_, len)| len.next_multiple_of(ALIGNMENT)).sum::<usize>() + ALIGNMENT;
        let mut memory: Vec<u8> = Vec::new();
        memory.try_reserve_exact(room).map_err(|_| fail(0, "read")(io::ErrorKind::OutOfMemory.into()))?;
        // What was reserved does not move any more.
        let first = memory.as_ptr().align_offset(ALIGNMENT);
        memory.resize(first, 0);
        let mut ranges = Vec::with_capacity(blobs.len());
        for (at, (name, len)) in blobs.iter().enumerate() {
            let start = memory.len();
            memory.resize(start + len, 0);
            let mut file = dir.file(name).map_err(fail(at, "open"))?;
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

    /// Has the pages of `len` bytes from `offset`, a multiple of every page size, in memory: an error, where touching them would be a
    /// signal. Where the system cannot say, nothing is done.
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

#[expect(unsafe_code, reason = "a map of a blob is how its tensors are there without a copy")]
fn map(file: &File, len: usize) -> io::Result<Mmap> {
    // SAFETY: a blob of the store has mode 0444 and is never written again once it has its name: it is replaced by a
    // rename or deleted, and both leave the mapped file as it is. Programs that share the layout do the same.
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
