//! What can be verified, and what can be found.

use std::{fmt, io};

use super::{super::ModelError, blob::Use};
use crate::{Digest, FsError, ModelName};

/// What to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Only these models, and the blobs that they reach; empty for the whole store, blobs that no model reaches included.
    pub names: Vec<ModelName>,
}

/// What [`Store::verify`](crate::Store::verify) found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct VerifyOutcome {
    /// The number of blobs that were checked.
    pub blobs: usize,
    /// Their size on disk in bytes.
    pub bytes: u64,
    /// The number of models that were checked.
    pub models: usize,
    /// What is not as it should be, by digest; documents that cannot be read come first.
    pub bad: Vec<Bad>,
}

/// A blob or document that is not as it should be.
#[derive(Debug)]
#[non_exhaustive]
pub struct Bad {
    /// The blob; `None` where a manifest is bad, so that no blob is known.
    pub digest: Option<Digest>,
    /// What is wrong.
    pub problem: Problem,
    /// What these models call it: a tensor, a group of experts or a file, each once and sorted. The config has no name.
    pub names: Vec<String>,
    /// The models that need it, sorted.
    pub models: Vec<ModelName>,
}

impl Bad {
    /// A problem of a blob that is used so.
    pub(super) fn of(digest: Digest, problem: Problem, uses: &[Use<'_>]) -> Self {
        Self {
            digest: Some(digest),
            problem,
            names: distinct(uses.iter().flat_map(|blob| &blob.names).map(|name| (*name).to_owned())),
            models: distinct(uses.iter().map(|blob| blob.model.name.clone())),
        }
    }
}

/// Sorted, each once.
pub(super) fn distinct<T: Ord>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What is wrong with a blob or document.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The blob has no file.
    Missing,
    /// The file's size is not the one in the manifest, both in bytes.
    Size {
        /// The size on disk, in bytes.
        found: u64,
        /// The size in the manifest, in bytes.
        expected: u64,
    },
    /// The bytes hash to something else.
    Content {
        /// The digest of the bytes.
        found: Digest,
    },
    /// The blob's header contradicts the tensor table, or is none.
    Header {
        /// How.
        detail: String,
    },
    /// The manifest cannot be used, or the config although its bytes are those of its digest.
    Model(Box<ModelError>),
    /// The table and the manifest's layers are not about the same blobs or names, or there are tensor blobs and no table.
    Table {
        /// How they differ.
        detail: String,
    },
    /// The tensors of a model that another program stored cannot be told.
    Tensors(String),
    /// The file cannot be read.
    Read(FsError),
}

impl Problem {
    /// A problem of a document whose bytes are in a blob.
    pub(super) fn of_document(error: ModelError) -> Self {
        match error {
            ModelError::Fs(error) => Self::Read(error),
            error => Self::Model(Box::new(error)),
        }
    }

    /// The answer of the system, if the file could not be read. Then the bytes may be right all the same.
    #[must_use]
    pub fn system_error(&self) -> Option<&io::Error> {
        match self {
            Self::Read(error) => Some(&error.source),
            Self::Model(error) => match &**error {
                ModelError::Fs(error) => Some(&error.source),
                _ => None,
            },
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Size { found, expected } => write!(f, "has {found} bytes, expected {expected}"),
            Self::Content { found } => write!(f, "corrupt: its bytes have the digest {found}"),
            Self::Header { detail } => write!(f, "its header does not match the tensor table: {detail}"),
            Self::Model(error) => f.write_str(&chain(error)),
            Self::Table { detail } => write!(f, "the tensor table does not match the manifest: {detail}"),
            Self::Tensors(detail) => f.write_str(detail),
            Self::Read(error) => f.write_str(&chain(error)),
        }
    }
}

/// A verification that could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A name that was asked for does not exist.
    #[error(transparent)]
    NotFound(Box<ModelError>),
    /// It was told to stop.
    #[error("stopped before everything was verified")]
    Cancelled,
    /// The store cannot be known.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// An error with all its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
