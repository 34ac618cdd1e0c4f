//! The options of a repair, and the outcome.

use std::{num::NonZero, sync::Arc};

use longshore_manifest::{
    Digest, FsError, ModelName,
    store::{Bad, IngestError, ModelError, VerifyError, VerifyOutcome},
};
use longshore_quant::policy::Policy;

use crate::{execute::error::ImportError, plan::error::PlanError, statistics::importance::ImportanceFile};

/// Hint for lost documents.
pub(super) const AGAIN: &str = "import the model again under its name";

/// The models to repair, and facts about their import that their records lack.
#[derive(Debug, Clone, Default)]
pub struct RepairOptions {
    /// The models to repair; all models of the store if empty.
    pub names: Vec<ModelName>,
    /// The policy that the models were imported with, if it is not a built-in one. Records hold only its name.
    pub policy: Option<Policy>,
    /// The importance file that the models were imported with.
    pub importance: Option<Arc<ImportanceFile>>,
    /// The number of threads. `None` stands for all that the machine offers.
    pub threads: Option<NonZero<usize>>,
}

/// The outcome of a repair.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RepairOutcome {
    /// The repaired blobs, in the order of their digests.
    pub repaired: Vec<Repaired>,
    /// The blobs and documents that could not be repaired, with the reasons: documents first, then blobs in the order
    /// of their digests.
    pub left: Vec<Unrepaired>,
    /// The result of the last verification. If something was repaired, only the damaged models were verified again.
    /// [`bad`](VerifyOutcome::bad) is empty, because [`Self::left`] has its contents.
    pub verified: VerifyOutcome,
}

/// A blob that was damaged or missing and has been repaired.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// The blob.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Description of the damage.
    pub problem: String,
    /// Names of the layers with this blob.
    pub names: Vec<String>,
    /// The models that refer to the blob, sorted.
    pub models: Vec<ModelName>,
}

/// A blob or document that was not repaired.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unrepaired {
    /// The damage, and the models that it affects.
    pub bad: Bad,
    /// The reason why it was not repaired.
    pub why: RepairProblem,
    /// Advice to the user, if there is any.
    pub hint: Option<String>,
}

/// Reason why a blob cannot be repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairProblem {
    /// No model refers to the blob.
    #[error("no model needs it")]
    Unneeded,
    /// The blob is as it was written but does not agree with the documents, or a manifest cannot be read.
    #[error("its documents can only be made by importing the model again")]
    Documents,
    /// The model was not imported by this program.
    #[error("the model does not record how it was imported")]
    NoRecord,
    /// A document of the model cannot be read, though it may be whole.
    #[error("it is not known how the model was imported")]
    Model(#[source] Arc<ModelError>),
    /// The config document is lost, and the record of the import with it. No known options give the same document.
    #[error("the config document is lost, and no import of this source without other options gives the same one")]
    Config,
    /// The source has no tensor, expert group or file with this name.
    #[error("the source gives no {name:?}")]
    Absent {
        /// The name of the blob's layer.
        name: String,
    },
    /// The source's tensor has another type or shape, or would be stored differently.
    #[error("the source gives tensor {tensor:?} as {found}, expected {expected}")]
    Differs {
        /// The first tensor that differs.
        tensor: String,
        /// Description of the tensor from the source.
        found: String,
        /// Description of the tensor in the model's table.
        expected: String,
    },
    /// The source gives a blob with other bytes.
    #[error("the source gives other bytes for {}: they have the digest {found}", name.as_deref().unwrap_or("it"))]
    Bytes {
        /// Name of the blob's tensor, expert group or file.
        name: Option<String>,
        /// Digest of the bytes that the source gives.
        found: Digest,
    },
    /// The source cannot be planned with the options of the model's import.
    #[error("the source cannot be imported as the model was")]
    Plan(#[source] Arc<PlanError>),
    /// Building the blob failed.
    #[error("it cannot be built again")]
    Build(#[source] Box<ImportError>),
}

/// Reason why a repair could not be done. The store is as it was. After [`RepairError::Fs`], however, some blobs may
/// already be repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The store cannot be verified, or a name does not exist.
    #[error(transparent)]
    Verify(VerifyError),
    /// The store belongs to another program, or cannot be written.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The source has changed since it was opened, or the blobs cannot be written.
    #[error(transparent)]
    Build(ImportError),
    /// The repair was cancelled.
    #[error("the repair was stopped; nothing was changed")]
    Cancelled,
    /// The repaired blobs cannot be put in place.
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
