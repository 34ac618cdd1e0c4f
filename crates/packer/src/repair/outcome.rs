//! What can be repaired, and what came of it.

use std::{num::NonZero, sync::Arc};

use longshore_manifest::{
    Digest, FsError, ModelName,
    store::{Bad, IngestError, VerifyError, VerifyOutcome},
};
use longshore_quant::policy::Policy;

use crate::{
    execute::{error::ImportError, importance::ImportanceFile},
    plan::error::PlanError,
};

/// What to do where documents are lost.
pub(super) const AGAIN: &str = "import the model again under its name";

/// What to repair, and what a model's own record does not have.
#[derive(Debug, Clone, Default)]
pub struct RepairOptions {
    /// Only these models; empty for the whole store.
    pub names: Vec<ModelName>,
    /// The policy that the models were imported with, if it is not a built-in one: they record its name alone.
    pub policy: Option<Policy>,
    /// The importance file that they were imported with.
    pub importance: Option<Arc<ImportanceFile>>,
    /// The number of threads; all that the machine has if `None`.
    pub threads: Option<NonZero<usize>>,
}

/// What a repair did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RepairOutcome {
    /// The blobs that are whole now, by digest.
    pub repaired: Vec<Repaired>,
    /// What is still bad and why, documents first and then by digest.
    pub left: Vec<Unrepaired>,
    /// What the last verification found: where something was repaired, of the models that had been harmed. Its
    /// [`bad`](VerifyOutcome::bad) is empty: see [`Self::left`].
    pub verified: VerifyOutcome,
}

/// A blob that was damaged or missing and is whole now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// The blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What was wrong with it.
    pub problem: String,
    /// What its models call it.
    pub names: Vec<String>,
    /// The models that need it, sorted.
    pub models: Vec<ModelName>,
}

/// What is bad and was not repaired.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unrepaired {
    /// What is wrong, and which models it harms.
    pub bad: Bad,
    /// Why it was not repaired.
    pub why: RepairProblem,
    /// What the user can do about it, if that is known.
    pub hint: Option<String>,
}

/// Why a blob cannot be repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairProblem {
    /// No model needs the blob.
    #[error("no model needs it")]
    Unneeded,
    /// The blob is as it was written, and the documents are not right about it; or a manifest cannot be read.
    #[error("only importing the model again makes its documents anew")]
    Documents,
    /// The model was not imported by this program.
    #[error("the model does not record how it was imported")]
    NoRecord,
    /// The config document is lost, and with it the record of how the model was imported; and no options that can be guessed give
    /// that document.
    #[error("the config document is lost, and no import of this source without other options gives the same one")]
    Config,
    /// The source has nothing of this name.
    #[error("the source gives no {name:?}")]
    Absent {
        /// The name of the blob's layer.
        name: String,
    },
    /// The source's tensor is of another type or shape, or would be stored otherwise.
    #[error("the source gives tensor {tensor:?} as {found}, expected {expected}")]
    Differs {
        /// The first tensor that differs.
        tensor: String,
        /// What the source gives.
        found: String,
        /// What the model's table has.
        expected: String,
    },
    /// The source gives other bytes.
    #[error("the source gives other bytes for {}: they have the digest {found}", name.as_deref().unwrap_or("it"))]
    Bytes {
        /// The blob's tensor, expert group or file.
        name: Option<String>,
        /// The digest of what the source gives.
        found: Digest,
    },
    /// The source cannot be planned as the model was.
    #[error("the source cannot be imported as the model was")]
    Plan(#[source] Arc<PlanError>),
    /// Building the blob failed.
    #[error("it cannot be built again")]
    Build(#[source] Box<ImportError>),
}

/// A repair that could not be done. The store is as it was, except after [`RepairError::Fs`], which may have left some blobs whole that
/// were not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The store cannot be verified, or a name does not exist.
    #[error(transparent)]
    Verify(VerifyError),
    /// The store belongs to another program, or cannot be written.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The source is not what it was when it was opened, or the blobs cannot be written.
    #[error(transparent)]
    Build(ImportError),
    /// It was told to stop.
    #[error("the repair was stopped; nothing was changed")]
    Cancelled,
    /// The blobs cannot be put in place.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl From<VerifyError> for RepairError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Cancelled => Self::Cancelled,
            error => Self::Verify(error),
        }
    }
}

impl From<ImportError> for RepairError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Cancelled => Self::Cancelled,
            error => Self::Build(error),
        }
    }
}
