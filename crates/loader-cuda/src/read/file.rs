//! A blob's file: what it is, and reads of it.

use std::{
    cell::{Cell, OnceCell},
    fs::File,
    io::{self, IoSliceMut},
    ops::Range,
    path::{Path, PathBuf},
};

/// What tells a file from another that took its place, and from itself after it was written to or cut.
///
/// Not the time of the last change: imports that find a blob in the store renew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    pub(super) size: u64,
}

/// A blob's open file, of one thread.
#[derive(Debug)]
pub(super) struct BlobFile {
    path: PathBuf,
    file: File,
    /// The same file, past the page cache, once it was tried to open it.
    direct: OnceCell<Option<File>>,
    refused: Cell<bool>,
    /// Whether it was asked before what is in memory.
    probed: Cell<bool>,
    /// Of a walk over offsets that looks random.
    walk: Cell<u64>,
}

impl BlobFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            // A pipe that stands in for a blob is opened at once rather than when someone writes to it, and refused below.
            let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
            options.custom_flags(flags.bits().cast_signed());
        }
        let file = options.open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file"));
        }
        // Where nothing is known about the file, its address in memory and the time do as a seed.
        let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let walk = Cell::new(u64::from(seed.subsec_nanos()) | 1);
        let (direct, refused, probed) = (OnceCell::new(), Cell::new(false), Cell::new(false));
        Ok(Self { path: path.to_owned(), file, direct, refused, probed, walk })
    }

    pub(super) fn identity(&self) -> io::Result<Identity> {
        let found = self.file.metadata()?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            Ok(Identity { device: found.dev(), inode: found.ino(), size: found.len() })
        }
        #[cfg(not(unix))]
        Ok(Identity { device: 0, inode: 0, size: found.len() })
    }

    /// Reads from `offset` into `out` until it is full or the file ends; the number of bytes.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        read_with(out.len(), |done| read_at(&self.file, &mut out[done..], offset + done as u64))
    }

    /// Reads from `offset` into the buffers, one after another, until they are full or the file ends; the number of bytes.
    #[cfg(target_os = "linux")]
    pub(super) fn read_scattered(&self, offset: u64, out: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        /// The most buffers of one call.
        const MOST: usize = 1024;
        let len = out.iter().map(|slice| slice.len()).sum();
        let mut rest = out;
        read_with(len, |done| {
            let now = rest.len().min(MOST);
            let read = rustix::io::preadv(&self.file, &mut rest[..now], offset + done as u64)?;
            IoSliceMut::advance_slices(&mut rest, read);
            Ok(read)
        })
    }

    /// As above, by one call for each buffer.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn read_scattered(&self, offset: u64, out: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut done = 0;
        for slice in out {
            let read = self.read(offset + done as u64, slice)?;
            done += read;
            if read < slice.len() {
                break;
            }
        }
        Ok(done)
    }

    /// Whether the range seems to be in memory: a few bytes of it can be read without waiting. At places that change from call to
    /// call, as asking brings the page of a byte into memory soon after.
    #[cfg(target_os = "linux")]
    pub(super) fn is_warm(&self, range: &Range<u64>) -> bool {
        use rustix::io::ReadWriteFlags;
        if !self.probed.replace(true) {
            // No more than the page of the byte that is asked for.
            let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::Random);
        }
        let len = range.end - range.start;
        let probes = if len > 64 << 10 { 4 } else { 1 };
        (0..probes).all(|_| {
            let next = self.walk.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            self.walk.set(next);
            let at = range.start + (next >> 33) % len.max(1);
            let mut byte = [0];
            let mut out = [IoSliceMut::new(&mut byte)];
            match rustix::io::preadv2(&self.file, &mut out, at, ReadWriteFlags::NOWAIT) {
                Ok(_) => true,
                // What cannot be asked counts as in memory, so that it is read in the way that always works.
                Err(error) => error != rustix::io::Errno::AGAIN,
            }
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn is_warm(&self, _: &Range<u64>) -> bool {
        let _ = (&self.walk, &self.probed);
        true
    }

    /// The same file, for reads past the page cache; `None` where the system or the file system has no such reads.
    pub(super) fn direct(&self) -> io::Result<Option<&File>> {
        if self.direct.get().is_none() {
            let opened = open_direct(&self.path, &self.file)?;
            let _ = self.direct.set(opened);
            if matches!(self.direct.get(), Some(None)) {
                self.refuse_direct();
            }
        }
        Ok(self.direct.get().and_then(Option::as_ref).filter(|_| !self.refused.get()))
    }

    /// Has [`Self::direct`] give nothing from here on: the file system took the flag, and refuses the reads.
    pub(super) fn refuse_direct(&self) {
        self.refused.set(true);
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::Normal);
    }
}

/// Calls `read` with the bytes done until there are `len`, or it gives none.
fn read_with(len: usize, mut read: impl FnMut(usize) -> io::Result<usize>) -> io::Result<usize> {
    let mut done = 0;
    while done < len {
        match read(done) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(unix)]
pub(super) fn read_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, out, offset)
}

#[cfg(windows)]
pub(super) fn read_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, out, offset)
}

/// The file once more, past the page cache; the same file, whatever has its name by now.
#[cfg(target_os = "linux")]
fn open_direct(path: &Path, file: &File) -> io::Result<Option<File>> {
    use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let Ok(direct) = File::options().read(true).custom_flags(flags).open(path) else { return Ok(None) };
    let (first, second) = (file.metadata()?, direct.metadata()?);
    Ok(((first.dev(), first.ino()) == (second.dev(), second.ino())).then_some(direct))
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "as where it can be done")]
fn open_direct(_: &Path, _: &File) -> io::Result<Option<File>> {
    Ok(None)
}
