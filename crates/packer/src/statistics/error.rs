use std::path::PathBuf;

use longshore_quant::ImportanceError;
use longshore_st_format::{Dtype, OpenError, Shape};

use super::recorded::OTHER_BASIS;

/// Reason why a file cannot be used as the importance of a model's weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportanceFileError {
    /// The file cannot be opened or is not in the safetensors format.
    #[error("cannot read the importance file {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The error of the reader.
        source: OpenError,
    },
    /// The file is no importance matrix of llama.cpp.
    #[error("cannot read the importance matrix {}: {problem}", path.display())]
    Imatrix {
        /// The file.
        path: PathBuf,
        /// The error in its bytes.
        problem: String,
    },
    /// A tensor has another type than F32.
    #[error("tensor {tensor:?} of the importance file {} is {found}, expected F32", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Type of the tensor.
        found: Dtype,
    },
    /// A tensor holds values that cannot be used as importance.
    #[error("tensor {tensor:?} of the importance file {} cannot be used", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The error in the values.
        source: ImportanceError,
    },
    /// A tensor does not fit the shape of the weight with its name.
    #[error(
        "tensor {tensor:?} of the importance file {} has shape {found}, expected {expected} for a weight {weight}",
        path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Shape of the tensor.
        found: Shape,
        /// The shapes that fit.
        expected: String,
        /// The shape of the weight.
        weight: Shape,
    },
    /// No tensor in the file belongs to a weight that is quantized.
    #[error(
        "the importance file {} has no tensor for any weight that is quantized; {example:?} is one of those", path.display()
    )]
    Unused {
        /// The file.
        path: PathBuf,
        /// The first weight that is quantized.
        example: String,
    },
    /// The statistics were recorded while a model with other weights ran.
    #[error("{} was recorded on a model that is {found}, and the weights are {expected}", path.display())]
    Rotation {
        /// The file.
        path: PathBuf,
        /// The rotation of that model, or the factors of its columns, in words.
        found: String,
        /// That of the weights.
        expected: String,
    },
}

impl ImportanceFileError {
    /// Advice to the user, if there is any for this error.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        matches!(self, Self::Rotation { .. }).then_some(OTHER_BASIS)
    }
}
