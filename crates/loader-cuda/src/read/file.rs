//! A blob's file: what it is, and reads of it.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    ops::Range,
    path::{Path, PathBuf},
};

/// What `O_DIRECT` reads begin and end at multiples of, in the file and in memory; 4 KiB does for every disk.
const BLOCK: usize = 4096;

/// What tells a file from another that took its place, and from itself after it was written to or cut.
///
/// Not the time of the last change: imports that find a blob in the store renew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    pub(super) size: u64,
}

/// A blob's open file.
#[derive(Debug)]
pub(super) struct BlobFile {
    path: PathBuf,
    file: File,
    direct: Direct,
    /// Of a walk over offsets that looks random.
    probe: u64,
}

/// The same file, past the page cache.
#[derive(Debug)]
enum Direct {
    NotTried,
    Open(File),
    /// The file system or the system has none.
    None,
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
        let probe = u64::from(seed.subsec_nanos()) | 1;
        Ok(Self { path: path.to_owned(), file, direct: Direct::NotTried, probe })
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
    pub(super) fn is_warm(&mut self, range: &Range<u64>) -> bool {
        use rustix::io::ReadWriteFlags;
        let len = range.end - range.start;
        let probes = if len > 64 << 10 { 4 } else { 1 };
        (0..probes).all(|_| {
            self.probe = self.probe.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = range.start + (self.probe >> 33) % len.max(1);
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
    pub(super) fn is_warm(&mut self, _: &Range<u64>) -> bool {
        let _ = self.probe;
        true
    }

    /// Reads `range` past the page cache into `scratch`; where in it the range starts and how many of its bytes there are. `None`
    /// where the system or the file system cannot.
    pub(super) fn read_direct(
        &mut self,
        range: &Range<u64>,
        scratch: &mut Vec<u8>,
    ) -> io::Result<Option<(usize, usize)>> {
        if matches!(self.direct, Direct::NotTried) {
            self.direct = open_direct(&self.path, &self.file)?.map_or(Direct::None, Direct::Open);
        }
        let Direct::Open(file) = &self.direct else { return Ok(None) };
        let block = BLOCK as u64;
        let start = range.start / block * block;
        let skip = usize::try_from(range.start - start).expect("it is less than a block");
        let wanted = usize::try_from(range.end - start).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let whole = wanted.next_multiple_of(BLOCK);
        if scratch.len() < whole + BLOCK {
            scratch.resize(whole + BLOCK, 0);
        }
        let at = scratch.as_ptr().align_offset(BLOCK);
        let out = &mut scratch[at..at + whole];
        let mut done = 0;
        while done < wanted {
            match read_at(file, &mut out[done..], start + done as u64) {
                Ok(0) => break,
                Ok(read) => {
                    done += read;
                    // Only the end of the file is no multiple of a block.
                    if !done.is_multiple_of(BLOCK) {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.direct = Direct::None;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some((at + skip, done.min(wanted).saturating_sub(skip))))
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
fn read_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, out, offset)
}

#[cfg(windows)]
fn read_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
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
