//! What a pull says about itself.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{FsError, ModelName, fs};

/// File name of a record in the directory of its pull.
pub(super) const NAME: &str = "pull.json";
/// Longest record that is read, in bytes.
const MAX: u64 = 64 << 10;

/// What a pull is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRecord {
    /// Version of the record's form, always 1.
    pub version: u32,
    /// Where the model comes from, as the user wrote it.
    pub reference: String,
    /// Name that the model will have.
    pub name: ModelName,
    /// Bytes that are to be moved in all.
    pub bytes: u64,
}

impl PullRecord {
    /// Makes a record.
    #[must_use]
    pub fn new(reference: impl Into<String>, name: ModelName, bytes: u64) -> Self {
        Self { version: 1, reference: reference.into(), name, bytes }
    }

    /// Reads the record in a directory. `None` if there is none that can be used: the pull was killed before it had one.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, FsError> {
        match fs::read_at_most(&dir.join(NAME), MAX) {
            Ok(Ok(bytes)) => Ok(serde_json::from_slice(&bytes).ok().filter(|record: &Self| record.version == 1)),
            Ok(Err(_)) => Ok(None),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("texts and numbers serialize");
        bytes.push(b'\n');
        bytes
    }
}
