//! Errors of opening a path.

use longshore_manifest::weights;

use crate::{execute::error::ImportError, plan::error::PlanError, source::error::SourceError};

/// Reason why a path cannot be opened as a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenPathError {
    /// Safetensors files, or a directory of them, cannot be opened.
    #[error(transparent)]
    Weights(#[from] weights::SourceError),
    /// GGUF files cannot be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// No place can be given to the tensors of GGUF files.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Tensors that are no ranges of their files cannot be made in memory.
    #[error(transparent)]
    Made(#[from] ImportError),
}
