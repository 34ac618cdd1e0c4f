use longshore_st_format::OpenError;

use crate::{Digest, document::DocumentError};

/// Why the tensors of a model that another program stored are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The weights are one file of another format.
    #[error("{name} is a GGUF model: its weights are one file in that format, and no safetensors")]
    Gguf {
        /// The model's name.
        name: String,
    },
    /// The manifest lists no blob of tensors.
    #[error("{name} has no blob of tensors")]
    NoTensors {
        /// The model's name.
        name: String,
    },
    /// Its components have more arrays together than any real model.
    #[error("its components have {arrays} arrays together, expected at most {limit}")]
    TooLarge {
        /// Number of arrays. The arrays of a blob count once for each component that names it.
        arrays: usize,
        /// The most that a table is made of.
        limit: usize,
    },
    /// A blob is missing, or is no safetensors file.
    #[error("cannot read the header of the blob of layer {layer:?}")]
    Header {
        /// The blob.
        digest: Digest,
        /// The first layer that has it.
        layer: String,
        /// The file and its problem.
        source: Box<OpenError>,
    },
    /// Nothing says how a tensor is coded, and its shapes do not tell.
    #[error(
        "nothing says how tensor {tensor:?} of blob {digest} is coded: {parts} can be {}",
        if candidates.is_empty() { "no type that is known".to_owned() } else { candidates.join(" or ") }
    )]
    Ambiguous {
        /// The blob of its codes.
        digest: Digest,
        /// The tensor.
        tensor: String,
        /// The types and shapes of its parts.
        parts: String,
        /// The types that they can be.
        candidates: Vec<String>,
    },
    /// A tensor's parts are not those of the type that metadata says.
    #[error("tensor {tensor:?} of blob {digest} is said to be {said}, which {parts} are not")]
    Contradiction {
        /// The blob of its codes.
        digest: Digest,
        /// The tensor.
        tensor: String,
        /// The types and shapes of its parts.
        parts: String,
        /// The type, as it is written there.
        said: String,
    },
    /// A tensor's parts do not fit together.
    #[error("tensor {tensor:?} of blob {digest}: {problem}")]
    Tensor {
        /// The blob of its weight.
        digest: Digest,
        /// The tensor.
        tensor: String,
        /// The problem.
        problem: String,
    },
    /// The tensors do not fit together: two have one name, for example.
    #[error("its tensors make no table")]
    Table {
        /// The problem.
        source: DocumentError,
    },
}

impl TableError {
    /// The blob that is at fault, where it is one.
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
