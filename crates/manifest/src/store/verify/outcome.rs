//! Options and outcome of a verification.

use std::fmt;

use super::{super::ModelError, blob::Use};
use crate::{Digest, FsError, ModelName};

/// Selection of the models to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Models to verify, together with the blobs that they reach. Empty for the whole store, including blobs that no
    /// model reaches.
    pub names: Vec<ModelName>,
}

/// Result of [`Store::verify`](crate::Store::verify).
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct VerifyOutcome {
    /// Number of checked blobs.
    pub blobs: usize,
    /// Size of the checked blobs on disk, in bytes.
    pub bytes: u64,
    /// Number of checked models.
    pub models: usize,
    /// Bad blobs and documents, by digest. Documents that cannot be read come first.
    pub bad: Vec<Bad>,
}

/// A bad blob or document.
#[derive(Debug)]
#[non_exhaustive]
pub struct Bad {
    /// Digest of the blob. `None` for a bad manifest, whose blobs are not known.
    pub digest: Option<Digest>,
    /// The problem that was found.
    pub problem: Problem,
    /// Names of the blob's contents in these models: tensors, groups of experts or files. Sorted, each once. The config
    /// has no name.
    pub names: Vec<String>,
    /// Models that need the blob or document, sorted.
    pub models: Vec<ModelName>,
}

impl Bad {
    /// Makes an entry for a problem of a blob that has these uses.
    pub(super) fn of(digest: Digest, problem: Problem, uses: &[Use<'_>]) -> Self {
        Self {
            digest: Some(digest),
            problem,
            names: distinct(uses.iter().flat_map(|blob| &blob.names).map(|name| (*name).to_owned())),
            models: distinct(uses.iter().map(|blob| blob.model.name.clone())),
        }
    }
}

/// Sorts the items and removes duplicates.
pub(super) fn distinct<T: Ord>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Problem of a blob or document.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The blob has no file.
    Missing,
    /// The size of the file differs from the manifest's.
    Size {
        /// Size on disk, in bytes.
        found: u64,
        /// Size in the manifest, in bytes.
        expected: u64,
    },
    /// The bytes have another digest.
    Content {
        /// Digest of the bytes.
        found: Digest,
    },
    /// The blob's header is not valid, or contradicts the tensor table.
    Header {
        /// Description of the contradiction.
        detail: String,
    },
    /// The manifest cannot be used, or the config cannot be used although its bytes match its digest.
    Model(Box<ModelError>),
    /// The table and the manifest's layers disagree about blobs or names, or there are tensor blobs and no table.
    Table {
        /// Description of the disagreement.
        detail: String,
    },
    /// The tensors of a model that another program stored are not known.
    Tensors(String),
    /// The file cannot be read.
    Read(FsError),
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

/// Reason why a verification could not be completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A name in the options does not exist.
    #[error(transparent)]
    NotFound(Box<ModelError>),
    /// The progress receiver cancelled the operation.
    #[error("stopped before everything was verified")]
    Cancelled,
    /// The store cannot be listed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// Joins the messages of an error and all its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
