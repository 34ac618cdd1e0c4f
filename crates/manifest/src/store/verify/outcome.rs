//! Options and outcome of a verification.

use std::{fmt, io, ops::Range};

use super::{super::ModelError, blob::Use};
use crate::{Digest, FsError, ModelName};

/// Selection of the models to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Models to verify, together with the blobs that they reach. Empty for the whole store, including blobs that no
    /// model reaches.
    pub names: Vec<ModelName>,
    /// Whether a blob is not hashed as a whole if the digests of its chunks are those of every table that has them. All threads
    /// share one large blob. It trusts the tables: that a table and a blob belong together is not checked.
    pub fast: bool,
    /// Whether a table's digests of chunks are compared with a blob that is right as a whole, too. That is twice the work, for tables that
    /// another program wrote.
    pub chunks: bool,
}

/// Result of [`Store::verify`](crate::Store::verify).
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct VerifyOutcome {
    /// Number of checked blobs.
    pub blobs: usize,
    /// Size of the checked blobs on disk, in bytes.
    pub bytes: u64,
    /// Number of the checked blobs that were not hashed as wholes, because the digests of their chunks are right.
    pub by_chunks: usize,
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
        /// Chunks that have other digests than in the table, in bytes from the start of the blob; neighbours are one range. Empty if no
        /// table says where the damage is.
        ranges: Vec<Range<u64>>,
    },
    /// The tensor table has other digests of chunks than the blob, which is good.
    Chunks {
        /// Description of the disagreement.
        detail: String,
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

impl Problem {
    /// A problem of a document whose bytes are in a blob.
    pub(super) fn of_document(error: ModelError) -> Self {
        match error {
            ModelError::Fs(error) => Self::Read(error),
            error => Self::Model(Box::new(error)),
        }
    }

    /// Whether the bytes of a blob are not those of its digest, so that the right ones mend it.
    #[must_use]
    pub fn is_of_bytes(&self) -> bool {
        matches!(self, Self::Missing | Self::Size { .. } | Self::Content { .. } | Self::Read(_))
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
            Self::Content { found, ranges } if ranges.is_empty() => {
                write!(f, "corrupt: its bytes have the digest {found}")
            }
            Self::Content { found, ranges } => {
                write!(f, "corrupt in {}: its bytes have the digest {found}", ranges_text(ranges))
            }
            Self::Chunks { detail } => write!(f, "the tensor table does not match the blob, which is good: {detail}"),
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

/// Most ranges that a message lists.
const LISTED: usize = 4;

/// Spells ranges of bytes: "bytes 0 to 16777215".
pub(super) fn ranges_text(ranges: &[Range<u64>]) -> String {
    let listed = ranges.iter().take(LISTED).map(|range| format!("{} to {}", range.start, range.end.saturating_sub(1)));
    let listed = listed.collect::<Vec<_>>().join(", ");
    match ranges.len().saturating_sub(LISTED) {
        0 => format!("bytes {listed}"),
        more => format!("bytes {listed} and {more} more ranges"),
    }
}
