//! The files that hold experts, open for reading.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use longshore_manifest::{Digest, open_regular, weights::Source};

use crate::map::{ExpertMap, ExpertRange};

/// Most bytes that one request to read ahead names. Linux cuts a longer one to what its device takes at once, which is this or more.
const PIECE: u64 = 128 << 10;

/// The files of a model that hold experts, open for reading.
#[derive(Debug)]
pub struct ExpertFiles {
    files: BTreeMap<Digest, Opened>,
}

#[derive(Debug)]
struct Opened {
    file: File,
    path: PathBuf,
}

/// Reason why a file that holds experts cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpertFilesError {
    /// The file is missing, or cannot be opened.
    #[error("cannot open {} of the blob {blob}, which holds experts", path.display())]
    Open {
        /// Blob of the table.
        blob: Digest,
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The file has changed since its header was read.
    #[error("{} is not the file any more whose header was read: open the model again", path.display())]
    Changed {
        /// Path of the file.
        path: PathBuf,
    },
    /// The file is too short for an expert.
    #[error("{} has {found} bytes, expected at least the {expected} of the experts in it", path.display())]
    Short {
        /// Path of the file.
        path: PathBuf,
        /// Size of the file in bytes.
        found: u64,
        /// End of the last expert, in bytes from the start of the file.
        expected: u64,
    },
}

impl ExpertFiles {
    /// Opens the files of `source` that hold the experts of `map`.
    ///
    /// # Errors
    ///
    /// [`ExpertFilesError`] for a file that is missing, too short, or not the one whose header was read.
    pub fn open(source: &Source, map: &ExpertMap) -> Result<Self, ExpertFilesError> {
        let mut files = BTreeMap::new();
        for (blob, expected) in map.blobs() {
            let path = source.path(&blob);
            let fail = |path: &Path| {
                let path = path.to_owned();
                move |source| ExpertFilesError::Open { blob, path, source }
            };
            let file = open_regular(&path).map_err(fail(&path))?;
            if let Some(checked) = source.checked(&blob)
                && !checked.is(&file).map_err(fail(&path))?
            {
                return Err(ExpertFilesError::Changed { path });
            }
            let found = file.metadata().map_err(fail(&path))?.len();
            if found < expected {
                return Err(ExpertFilesError::Short { path, found, expected });
            }
            files.insert(blob, Opened { file, path });
        }
        Ok(Self { files })
    }

    /// Asks the system to read ranges ahead, all in one go, and does not wait for them. This is advice (`POSIX_FADV_WILLNEED` on Linux,
    /// which a map of the same file gets the pages of, and `F_RDADVISE` on macOS): systems that take none do nothing, and an error
    /// changes nothing. Returns the bytes that were asked for.
    #[expect(clippy::must_use_candidate, reason = "the bytes are only worth a count")]
    pub fn ask(&self, ranges: &[ExpertRange]) -> u64 {
        let mut asked = 0;
        for range in ranges {
            let Some(opened) = self.files.get(&range.blob) else { continue };
            let mut at = range.offset;
            while at < range.end {
                let len = (range.end - at).min(PIECE);
                advise(&opened.file, at, len);
                at += len;
            }
            asked += range.len();
        }
        asked
    }

    /// Reads the bytes of a range. `into` is as long as the range.
    ///
    /// # Errors
    ///
    /// The error of the system, [`io::ErrorKind::UnexpectedEof`] for a file that was cut short, and [`io::ErrorKind::NotFound`] for a
    /// blob that holds no expert of the map.
    pub fn read(&self, range: &ExpertRange, into: &mut [u8]) -> io::Result<()> {
        let opened = self.files.get(&range.blob).ok_or(io::ErrorKind::NotFound)?;
        if into.len() as u64 != range.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the memory is not as long as the range"));
        }
        read_at(&opened.file, into, range.offset)
    }

    /// Tells the system that the pages of a range are not needed any more, so that memory holds its bytes once. This is advice.
    pub fn forget(&self, range: &ExpertRange) {
        if let Some(opened) = self.files.get(&range.blob) {
            forget(&opened.file, range.offset, range.len());
        }
    }

    /// Returns the path of a file, or `None` for a blob that holds no expert of the map.
    #[must_use]
    pub fn path(&self, blob: &Digest) -> Option<&Path> {
        self.files.get(blob).map(|opened| opened.path.as_path())
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn advise(file: &File, offset: u64, len: u64) {
    let _ = rustix::fs::fadvise(file, offset, std::num::NonZeroU64::new(len), rustix::fs::Advice::WillNeed);
}

#[cfg(target_vendor = "apple")]
fn advise(file: &File, offset: u64, len: u64) {
    let _ = rustix::fs::fcntl_rdadvise(file, offset, len);
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn advise(_: &File, _: u64, _: u64) {}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn forget(file: &File, offset: u64, len: u64) {
    let _ = rustix::fs::fadvise(file, offset, std::num::NonZeroU64::new(len), rustix::fs::Advice::DontNeed);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn forget(_: &File, _: u64, _: u64) {}

#[cfg(unix)]
fn read_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut into: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !into.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, into, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        into = &mut into[read..];
        offset += read as u64;
    }
    Ok(())
}
