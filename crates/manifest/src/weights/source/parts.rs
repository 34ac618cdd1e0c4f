//! Files of a source whose table its maker knows.

use std::{
    path::{Path, PathBuf, absolute},
    sync::Arc,
};

use super::{
    SourceError,
    file::{Identity, PlainFile},
    memory::MemoryFile,
};
use crate::{Digest, fs::open_regular};

/// A file of a [`Source`](super::Source) that is made [of parts](super::Source::of_parts).
#[derive(Debug, Clone)]
pub struct SourceFile {
    digest: Digest,
    pub(super) file: PlainFile,
}

impl SourceFile {
    /// Notes what tells the file at `path` from others and from itself after a change. Its contents are not read.
    ///
    /// # Errors
    ///
    /// [`SourceError::Read`] if it cannot be opened, or is no regular file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SourceError> {
        let path = path.as_ref();
        let fail = |action| move |source| SourceError::open(action, path, source);
        let file = open_regular(path).map_err(fail("open"))?;
        let found = file.metadata().map_err(fail("read the size of"))?;
        let path = absolute(path).map_err(fail("resolve"))?;
        Ok(Self::new(path, Identity::of(&found), None))
    }

    /// Takes a file in memory, which is kept as long as a source or weights need it.
    ///
    /// # Errors
    ///
    /// [`SourceError::Read`] if the system does not say its size.
    pub fn of_memory(memory: MemoryFile) -> Result<Self, SourceError> {
        let path = memory.path().to_owned();
        let found = memory.metadata().map_err(|source| SourceError::open("read the size of", &path, source))?;
        Ok(Self::new(path, Identity::of(&found), Some(Arc::new(memory))))
    }

    fn new(path: PathBuf, identity: Identity, memory: Option<Arc<MemoryFile>>) -> Self {
        Self { digest: identity.digest(&path), file: PlainFile { path, identity, _memory: memory } }
    }

    /// Returns the stand-in for a digest by which a table names the file.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the size of the file in bytes.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.file.identity.size
    }
}
