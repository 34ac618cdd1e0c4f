//! Digests of files: of the whole, and of chunks.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use super::{Added, Store};
use crate::{
    Digest, FsError, Hasher,
    document::{ChunkHasher, Chunks},
    fs,
};

/// Number of bytes that are read and hashed at a time. They fit into a core's own cache.
pub(super) const COPY: usize = 256 << 10;

/// Hashes a file through `buffer`, as a whole and chunk by chunk, and tells `add` of every piece.
pub(super) fn hash<E: From<FsError>>(
    file: &File,
    path: &Path,
    buffer: &mut [u8],
    add: &mut dyn FnMut(u64) -> Result<(), E>,
) -> Result<(Digest, Option<Chunks>), E> {
    let mut hasher = ChunkHasher::default();
    each(file, path, buffer, &mut |piece| {
        hasher.update(piece);
        add(piece.len() as u64)
    })?;
    Ok(hasher.finish())
}

/// Hashes a file as a whole through `buffer`, and tells `add` of every piece.
pub(super) fn hash_whole<E: From<FsError>>(
    file: &File,
    path: &Path,
    buffer: &mut [u8],
    add: &mut dyn FnMut(u64) -> Result<(), E>,
) -> Result<Digest, E> {
    let mut hasher = Hasher::default();
    each(file, path, buffer, &mut |piece| {
        hasher.update(piece);
        add(piece.len() as u64)
    })?;
    Ok(hasher.finish())
}

/// Reads a file through `buffer`, and hands on every piece. It is read and not mapped, because a mapped file that is truncated in
/// the meantime would end the process.
fn each<E: From<FsError>>(
    mut file: &File,
    path: &Path,
    buffer: &mut [u8],
    take: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => take(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FsError::at("read", path)(error).into()),
        }
    }
}

/// Hashes a file of the store, as a whole and chunk by chunk.
pub(super) fn hash_file(path: &Path) -> Result<(Digest, Option<Chunks>), FsError> {
    let file = fs::open(path)?;
    let mut buffer = Vec::new();
    fs::resize(&mut buffer, COPY).map_err(FsError::at("read", path))?;
    hash(&file, path, &mut buffer, &mut |_| Ok(()))
}

impl Store {
    /// Reads a stored blob and hashes it, as a whole and chunk by chunk. The digest of the result is that of its bytes, which is another
    /// than `digest` if the blob is damaged.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the blob is not there or cannot be read.
    pub fn hash_blob(&self, digest: &Digest) -> Result<Added, FsError> {
        let path = self.blob_path(digest);
        let (found, chunks) = hash_file(&path)?;
        let size = path.metadata().map_err(FsError::at("read the size of", &path))?.len();
        Ok(Added::reused(found, size, chunks))
    }
}
