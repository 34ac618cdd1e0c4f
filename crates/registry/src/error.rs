//! Why a push or a pull failed.

use std::path::PathBuf;

use longshore_manifest::{
    Digest, FsError,
    store::{IngestError, ModelError, PartialError, PullError},
};
use longshore_transfer::TransferError;

use crate::WireError;

/// Reason why a push or a pull failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The registry does not have it.
    #[error("{reference} is not there")]
    NotFound {
        /// What was asked for.
        reference: String,
    },
    /// The registry has something else under this name.
    #[error("{reference} is not a model in this form")]
    Wire {
        /// What was asked for.
        reference: String,
        /// What is wrong with it.
        source: WireError,
    },
    /// What a registry sent has another digest than it was asked for by.
    #[error("{what} of {reference} has the digest {found}, expected {expected}")]
    Digest {
        /// The document or blob, and the layer that it lies in.
        what: String,
        /// What was asked for.
        reference: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// A blob of the store is damaged, so it is not sent.
    #[error("the stored blob {digest} is damaged: its bytes have the digest {found}")]
    Damaged {
        /// The blob.
        digest: Digest,
        /// The digest of its bytes.
        found: Digest,
    },
    /// The registry did not take what was sent.
    #[error("{registry} does not take {what}: {problem}")]
    Refused {
        /// The registry.
        registry: String,
        /// What was sent.
        what: String,
        /// What it answered.
        problem: String,
    },
    /// The model does not fit.
    #[error("{} has room for {available} bytes, and {needed} are missing of the model", path.display())]
    Space {
        /// The store.
        path: PathBuf,
        /// Bytes to be written.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// The transfer failed.
    #[error(transparent)]
    Transfer(TransferError),
    /// The model cannot be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The pull cannot begin.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// The store cannot take the model.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// It was stopped from outside. What has arrived is kept.
    #[error("stopped")]
    Cancelled,
}

impl From<TransferError> for RegistryError {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Cancelled => Self::Cancelled,
            // What receives the bytes is a file of the store, whose error says which.
            TransferError::Receiver(error) => match error.downcast::<FsError>() {
                Ok(error) => Self::Fs(error),
                Err(error) => Self::Transfer(TransferError::Receiver(error)),
            },
            error => Self::Transfer(error),
        }
    }
}

impl RegistryError {
    pub(crate) fn of_partial(error: PartialError, what: String, reference: &str) -> Self {
        match error {
            PartialError::Digest { expected, found } => {
                Self::Digest { what, reference: reference.to_owned(), expected, found }
            }
            PartialError::Fs(error) => Self::Fs(error),
            error => unreachable!("BUG: {error} is none of the kinds that there are"),
        }
    }

    /// Advice to the user.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotFound { .. } => Some("check the name; a registry that wants a login may hide what it has"),
            Self::Wire { source: WireError::Version { .. }, .. } => Some("a newer release reads it"),
            Self::Wire { source: WireError::Kind { .. }, .. } => Some("only what `longshore push` sent can be pulled"),
            Self::Digest { .. } => {
                Some("the registry, or a proxy before it, damages what it sends; try again, or another registry")
            }
            Self::Damaged { .. } => Some("`longshore verify --repair SOURCE` builds it again"),
            Self::Space { .. } => Some("`longshore gc` frees what no name needs"),
            Self::Pull(PullError::Running { .. }) => Some("wait for it; both would fetch the same"),
            Self::Transfer(error) => error.hint(),
            _ => None,
        }
    }
}
