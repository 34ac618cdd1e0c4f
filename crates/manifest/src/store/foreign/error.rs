use longshore_st_format::OpenError;

use crate::{Digest, document::DocumentError};

/// Reason why the tensors of a model that another program stored are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The weights are one GGUF file.
    #[error("{name} is a GGUF model: its weights are one file in that format, not in safetensors")]
    Gguf {
        /// Name of the model.
        name: String,
    },
    /// The manifest lists no blob of tensors.
    #[error("{name} has no blob of tensors")]
    NoTensors {
        /// Name of the model.
        name: String,
    },
    /// The components together have more arrays than any real model.
    #[error("its components have {arrays} arrays together, expected at most {limit}")]
    TooLarge {
        /// Number of arrays. Those of a blob count once for each component that names it.
        arrays: usize,
        /// Largest number of arrays in a table.
        limit: usize,
    },
    /// A blob is missing, or is not a safetensors file.
    #[error("cannot read the header of the blob of layer {layer:?}")]
    Header {
        /// Digest of the blob.
        digest: Digest,
        /// Name of the first layer with the blob.
        layer: String,
        /// Error with the file and the problem.
        source: Box<OpenError>,
    },
    /// Nothing states the coding of a tensor, and its shapes do not imply it.
    #[error(
        "nothing says how tensor {tensor:?} of blob {digest} is coded: {parts} can be {}",
        if candidates.is_empty() { "no known type".to_owned() } else { candidates.join(" or ") }
    )]
    Ambiguous {
        /// Blob of the tensor's codes.
        digest: Digest,
        /// Name of the tensor.
        tensor: String,
        /// Types and shapes of the tensor's parts.
        parts: String,
        /// Types that the parts fit.
        candidates: Vec<String>,
    },
    /// The parts of a tensor do not fit the type in the metadata.
    #[error("tensor {tensor:?} of blob {digest} is said to be {said}, which {parts} are not")]
    Contradiction {
        /// Blob of the tensor's codes.
        digest: Digest,
        /// Name of the tensor.
        tensor: String,
        /// Types and shapes of the tensor's parts.
        parts: String,
        /// Type as the metadata spells it.
        said: String,
    },
    /// The parts of a tensor contradict each other.
    #[error("tensor {tensor:?} of blob {digest}: {problem}")]
    Tensor {
        /// Blob of the tensor's weight.
        digest: Digest,
        /// Name of the tensor.
        tensor: String,
        /// Description of the contradiction.
        problem: String,
    },
    /// The tensors contradict each other. For example, two have one name.
    #[error("its tensors contradict each other")]
    Table {
        /// Description of the contradiction.
        source: DocumentError,
    },
}

impl TableError {
    /// Returns the blob at fault, if a single blob is.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Header { digest, .. }
            | Self::Ambiguous { digest, .. }
            | Self::Contradiction { digest, .. }
            | Self::Tensor { digest, .. } => Some(*digest),
            Self::Gguf { .. } | Self::NoTensors { .. } | Self::TooLarge { .. } | Self::Table { .. } => None,
        }
    }
}
