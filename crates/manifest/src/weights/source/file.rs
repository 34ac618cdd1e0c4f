//! Plain files: who they are, and their headers.

use std::{
    fs::{File, Metadata},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use longshore_st_format::{Header, Limits, ReadError};

use super::{MemoryFile, SourceError};
use crate::{Digest, Hasher, fs::open_regular};

/// A plain file when its header was read.
#[derive(Debug, Clone)]
pub(super) struct PlainFile {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    /// The file itself where it lies in memory and ends with its last user.
    pub(super) _memory: Option<Arc<MemoryFile>>,
}

/// Identity of a file: tells it from another, and from itself after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) size: u64,
    device: u64,
    inode: u64,
    /// Nanoseconds since 1970 of the last change of the contents.
    modified: u128,
}

/// A file as it was when its header was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked(pub(super) Identity);

impl Checked {
    /// Whether `file` is still that file, of the same length and unchanged as far as its times tell.
    ///
    /// # Errors
    ///
    /// The error of the system if it does not say.
    pub fn is(&self, file: &File) -> io::Result<bool> {
        Ok(Identity::of(&file.metadata()?) == self.0)
    }
}

impl Identity {
    pub(super) fn of(found: &Metadata) -> Self {
        let modified = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified = modified.map_or(0, |time| time.as_nanos());
        #[cfg(unix)]
        let (device, inode) = {
            use std::os::unix::fs::MetadataExt as _;
            (found.dev(), found.ino())
        };
        #[cfg(not(unix))]
        let (device, inode) = (0, 0);
        Self { size: found.len(), device, inode, modified }
    }

    /// A stand-in for the digest of the bytes: that of the path and the identity.
    pub(super) fn digest(&self, path: &Path) -> Digest {
        let Self { size, device, inode, modified } = self;
        let mut hasher = Hasher::default();
        hasher.update(b"plain file\0");
        for number in [u128::from(*size), u128::from(*device), u128::from(*inode), *modified] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(path.as_os_str().as_encoded_bytes());
        hasher.finish()
    }
}

/// Reads the header of a file.
pub(super) fn read(path: &Path) -> Result<(PlainFile, Header), SourceError> {
    let fail = |action| move |source| SourceError::open(action, path, source);
    let file = open_regular(path).map_err(fail("open"))?;
    let identity = Identity::of(&file.metadata().map_err(fail("read the size of"))?);
    let header = Header::read_from(&file, &Limits::default()).map_err(|error| match error {
        ReadError::Header(source) => SourceError::Header { path: path.into(), source },
        ReadError::Io { source } => fail("read")(source),
        other => fail("read")(io::Error::other(other.to_string())),
    })?;
    Ok((PlainFile { path: path.into(), identity, _memory: None }, header))
}
