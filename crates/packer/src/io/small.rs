//! Reading small documents as a whole.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

/// Reason why a document could not be read.
pub(crate) enum SmallFileError {
    /// The error of the system.
    Io(io::Error),
    /// The path is a pipe, a socket, a device, a directory or a link in a circle.
    NotRegular,
    /// The file has `found` bytes, more than allowed.
    TooLarge { found: u64 },
}

/// Reads the whole file if it has at most `limit` bytes. Pipes and devices are refused, because opening one may block
/// forever.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, SmallFileError> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(SmallFileError::NotRegular),
        Err(error) if super::is_circle(&error) => return Err(SmallFileError::NotRegular),
        Err(error) => return Err(SmallFileError::Io(error)),
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes));
    let found = read.map_err(SmallFileError::Io)? as u64;
    if found > limit {
        let found = fs::metadata(path).map_or(found, |meta| meta.len().max(found));
        return Err(SmallFileError::TooLarge { found });
    }
    Ok(bytes)
}
