//! Why a pull from a hub failed.

use std::{
    io,
    path::{Path, PathBuf},
};

use longshore_manifest::{
    FsError,
    store::{IngestError, PullError},
};
use longshore_packer::{ImportError, PlanError, SourceError};
use longshore_transfer::TransferError;

/// Makes an error about a file on this machine.
pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HubError {
    move |error| HubError::Fs(FsError::new(action, path.to_path_buf(), error))
}

/// Reason why a pull from a hub failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// There is no such repository, or it is hidden from who asks.
    #[error("{reference} is not there, or not for everybody")]
    NotFound {
        /// What was asked for.
        reference: String,
    },
    /// The repository has no such revision.
    #[error("{reference} has no such revision")]
    Revision {
        /// What was asked for.
        reference: String,
    },
    /// The model's terms have not been accepted.
    #[error("{reference} is for those who accepted its terms")]
    Gated {
        /// What was asked for.
        reference: String,
    },
    /// What the hub lists cannot be used.
    #[error("the list of files of {reference} cannot be used: {problem}")]
    Listing {
        /// What was asked for.
        reference: String,
        /// What is wrong.
        problem: String,
    },
    /// The repository has several models, and it was not said which.
    #[error("{reference} has several models: {}", choices.join(", "))]
    Ambiguous {
        /// What was asked for.
        reference: String,
        /// Their files, with their sizes.
        choices: Vec<String>,
    },
    /// No file was chosen that a model is made of.
    #[error("{reference} has no weights that can be imported{}", if *chosen { " among the chosen files" } else { "" })]
    NoWeights {
        /// What was asked for.
        reference: String,
        /// Whether the user chose.
        chosen: bool,
    },
    /// A glob cannot be understood.
    #[error("{glob:?} is no pattern of names")]
    Glob {
        /// The text.
        glob: String,
    },
    /// A file has another digest than the hub lists.
    #[error("{path} arrived with the digest {found}, expected {expected}")]
    Digest {
        /// The file.
        path: String,
        /// The digest that the hub lists.
        expected: String,
        /// The digest of what arrived.
        found: String,
    },
    /// A file of the hub's cache is damaged.
    #[error("{} has the digest {found}, expected {expected}", path.display())]
    Cached {
        /// The file.
        path: PathBuf,
        /// The digest that its name says.
        expected: String,
        /// The digest of its bytes.
        found: String,
    },
    /// A file is not as its beginning was when the import was planned.
    #[error("{path} is not what its header, read before, said")]
    Changed {
        /// The file.
        path: String,
    },
    /// The hub may not be asked, and the cache does not have it.
    #[error("{reference} is not in the hub's cache {}, and HF_HUB_OFFLINE is set", cache.display())]
    Offline {
        /// What was asked for.
        reference: String,
        /// The cache.
        cache: PathBuf,
    },
    /// A variable of the environment cannot be used.
    #[error("{variable} cannot be used: {problem}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The model does not fit.
    #[error("{} has room for {available} bytes, and the import needs {needed}", path.display())]
    Space {
        /// The store.
        path: PathBuf,
        /// Bytes of the result that are missing, and of three shards.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// The transfer failed.
    #[error(transparent)]
    Transfer(TransferError),
    /// The files are no model that can be imported.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The import cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The import failed.
    #[error(transparent)]
    Import(ImportError),
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

impl From<TransferError> for HubError {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Cancelled => Self::Cancelled,
            TransferError::Receiver(error) => match error.downcast::<FsError>() {
                Ok(error) => Self::Fs(error),
                Err(error) => Self::Transfer(TransferError::Receiver(error)),
            },
            error => Self::Transfer(error),
        }
    }
}

impl From<ImportError> for HubError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Cancelled => Self::Cancelled,
            error => Self::Import(error),
        }
    }
}

impl HubError {
    /// Says what a hub's answer means, where its code says it.
    pub(crate) fn of(error: TransferError, reference: &str) -> Self {
        let reference = reference.to_owned();
        match (error.code(), error.status()) {
            (Some("GatedRepo"), _) => Self::Gated { reference },
            (Some("RevisionNotFound"), _) => Self::Revision { reference },
            (Some("RepoNotFound"), _) | (_, Some(401 | 404)) => Self::NotFound { reference },
            _ => error.into(),
        }
    }

    /// Advice to the user.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotFound { .. } => {
                Some("check the name; for a private repository set HF_TOKEN to a token that may read it")
            }
            Self::Gated { .. } => Some("accept the terms on the model's page, then set HF_TOKEN to your token"),
            Self::Ambiguous { .. } => Some("choose with --include, such as --include '*Q4_K_M*'"),
            Self::NoWeights { .. } => {
                Some("safetensors and GGUF can be imported; --include chooses other files than the usual ones")
            }
            Self::Changed { .. } => Some("pull again: the hub, or a proxy before it, sent something else once"),
            Self::Digest { .. } => Some("the hub, or a proxy before it, damages what it sends; nothing of it is kept"),
            Self::Cached { .. } => Some("remove the file and unset HF_HUB_OFFLINE: the hub has it"),
            Self::Space { .. } => Some("`longshore gc` frees what no model needs; --store DIR chooses another disk"),
            Self::Offline { .. } => Some("unset HF_HUB_OFFLINE to ask the hub"),
            Self::Pull(PullError::Running { .. }) => Some("wait for it; both would fetch the same"),
            Self::Transfer(error) => error.hint(),
            _ => None,
        }
    }
}
