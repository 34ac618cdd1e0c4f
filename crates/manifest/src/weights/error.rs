//! Errors from opening weights.

use std::{io, path::PathBuf};

use longshore_st_format::Dtype;

use super::{MapError, plan::LoadPlanError};
use crate::{Digest, store::TableError};

/// Reason why weights cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The model has no tensor table, and none can be made from its blobs.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The component has no tensors.
    #[error("no tensors in the component {component:?} of {name}; {}", components(found))]
    Component {
        /// Name of the model.
        name: String,
        /// Component that was selected.
        component: String,
        /// Components of the model. Empty for a model of one part.
        found: Vec<String>,
    },
    /// The selection cannot be planned, or a tensor cannot be converted.
    #[error(transparent)]
    Plan(LoadPlanError),
    /// A plain file is missing, cannot be mapped, or is no longer the one whose header was read.
    #[error("cannot open the file of tensor {tensor:?}")]
    File {
        /// Name of the first tensor in the file.
        tensor: String,
        /// Reason why the file cannot be mapped.
        source: MapError,
    },
    /// There is no memory for what is copied or converted.
    #[error("cannot take {bytes} bytes of memory for copies and conversions")]
    Memory {
        /// Number of bytes.
        bytes: u64,
        /// Error of the system.
        source: io::Error,
    },
    /// The bytes of a tensor that is copied or converted cannot be read.
    #[error("cannot read tensor {tensor:?} from {}", path.display())]
    Read {
        /// Name of the tensor.
        tensor: String,
        /// Path of the file.
        path: PathBuf,
        /// Error of the system, or its meaning.
        source: io::Error,
    },
    /// A quantized tensor cannot be decoded.
    #[error("tensor {tensor:?} is coded as {found}, which cannot be decoded to {to}")]
    Decode {
        /// Name of the tensor.
        tensor: String,
        /// Coding of the tensor.
        found: String,
        /// Type of the values that were asked for.
        to: Dtype,
    },
    /// This build of the crate converts nothing: it has no feature `decode`.
    #[error("tensor {tensor:?} cannot be converted: this build has no feature \"decode\"")]
    NotBuilt {
        /// Name of the tensor.
        tensor: String,
    },
    /// The progress receiver cancelled the operation.
    #[error("stopped before all tensors were converted")]
    Cancelled,
    /// A blob is missing or cannot be mapped.
    #[error("cannot open the blob {digest} of tensor {tensor:?}")]
    Blob {
        /// Digest of the blob.
        digest: Digest,
        /// Name of the first tensor in the blob.
        tensor: String,
        /// Reason why the blob cannot be mapped.
        source: MapError,
    },
    /// A blob is shorter than the table says.
    #[error("{} has {found} bytes, expected at least the {expected} of tensor {tensor:?}", path.display())]
    Short {
        /// Path of the blob's file.
        path: PathBuf,
        /// Size of the file in bytes.
        found: u64,
        /// End of the tensor's last part, in bytes from the start of the blob.
        expected: u64,
        /// Name of the tensor.
        tensor: String,
    },
}

fn components(found: &[String]) -> String {
    if found.is_empty() { "it has no components".into() } else { format!("it has {found:?}") }
}
