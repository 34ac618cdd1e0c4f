//! Hashing whole files.

use std::{
    io::{self, Read as _},
    path::Path,
};

use longshore_manifest::{Digest, Hasher};

/// Number of bytes that are hashed at a time.
const CHUNK: usize = 256 << 10;

/// The SHA-256 of a regular file, and its length.
pub(crate) fn digest(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = longshore_manifest::open_regular(path)?;
    let (mut hasher, mut buffer, mut len) = (Hasher::default(), vec![0; CHUNK], 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hasher.finish(), len));
        }
        hasher.update(&buffer[..read]);
        len += read as u64;
    }
}
