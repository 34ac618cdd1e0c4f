//! Files of blobs: their identity, and reads of them.

use std::{
    cell::{Cell, OnceCell},
    fs::File,
    io::{self, IoSliceMut},
    ops::Range,
    path::{Path, PathBuf},
};

use longshore_manifest::weights::Checked;

/// Properties that distinguish a file from another one that took its place, and from itself after it was written to or
/// truncated.
///
/// The time of the last change does not count, because imports that find a blob in the store renew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    pub(super) size: u64,
}

/// A blob's open file, used by one thread.
#[derive(Debug)]
pub(super) struct BlobFile {
    path: PathBuf,
    file: File,
    /// The same file opened for reads past the page cache, once that was tried.
    direct: OnceCell<Option<File>>,
    refused: Cell<bool>,
    /// True once it was asked which bytes are in memory.
    probed: Cell<bool>,
    /// State of a pseudo-random walk over offsets.
    walk: Cell<u64>,
}

impl BlobFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            // With these flags, opening a pipe in place of a blob does not wait for a writer. The pipe is refused
            // below.
            let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
            options.custom_flags(flags.bits().cast_signed());
        }
        let file = options.open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
        }
        // Without any knowledge of the file, the current time serves as the seed.
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

    /// Whether the file is as it was when it was checked.
    pub(super) fn is_checked(&self, checked: &Checked) -> io::Result<bool> {
        checked.is(&self.file)
    }

    /// Reads from `offset` into `out` until it is full or the file ends. Returns the number of bytes.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        read_with(out.len(), |done| read_at(&self.file, &mut out[done..], offset + done as u64))
    }

    /// Reads from `offset` into the buffers, in order, until they are full or the file ends. Returns the number of
    /// bytes.
    #[cfg(target_os = "linux")]
    pub(super) fn read_scattered(&self, offset: u64, out: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        /// Largest number of buffers per call.
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

    /// Like the version for Linux, with one call per buffer.
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

    /// Returns true where the range seems to be in memory, that is, where a few of its bytes can be read without
    /// waiting. The places change from call to call, because the test itself brings the page of a byte into memory soon
    /// after.
    #[cfg(target_os = "linux")]
    pub(super) fn is_warm(&self, range: &Range<u64>) -> bool {
        use rustix::io::ReadWriteFlags;
        if !self.probed.replace(true) {
            // With this advice, a test brings in no more than the page of its byte.
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
                // Where the test is not possible, the bytes count as being in memory, so they are read in the way that
                // always works.
                Err(error) => error != rustix::io::Errno::AGAIN,
            }
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn is_warm(&self, _: &Range<u64>) -> bool {
        let _ = (&self.walk, &self.probed);
        true
    }

    /// Returns the same file opened for reads past the page cache, or `None` where the system or the file system does
    /// not support them.
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

    /// Makes [`Self::direct`] return `None` from here on, because the file system accepted the flag but refuses the
    /// reads.
    pub(super) fn refuse_direct(&self) {
        self.refused.set(true);
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::Normal);
    }
}

/// Calls `read` with the number of bytes read so far, until there are `len` bytes or it returns none.
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

/// Opens the file again, for reads past the page cache. It is the same file, even if another one has taken its name.
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
