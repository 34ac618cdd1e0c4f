use longshore_model::experts::ExpertError;
use longshore_st_format::Dtype;

/// A reason for which the expert tensors of a checkpoint cannot be stacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// The names and shapes are not those of the experts of a layer.
    #[error(transparent)]
    Group(#[from] ExpertError),
    /// The experts' tensors of one projection differ in dtype.
    #[error("expert tensor {tensor:?} has the dtype {found}: expected {expected}, that of {first:?}")]
    Dtype {
        /// The tensor at fault.
        tensor: String,
        /// Dtype of that tensor.
        found: Dtype,
        /// Name of the first expert's tensor.
        first: String,
        /// Dtype of the first expert's tensor.
        expected: Dtype,
    },
    /// An element is not a whole number of bytes, so the tensor cannot be transposed.
    #[error(
        "expert tensor {tensor:?} has the dtype {found}: expected whole bytes, as this architecture's are transposed"
    )]
    Transpose {
        /// The tensor.
        tensor: String,
        /// Dtype of the tensor.
        found: Dtype,
    },
    /// The weights are quantized and therefore cannot be transposed.
    #[error("expert tensor {tensor:?} is quantized: expected floats, as this architecture's are transposed")]
    TransposeCoded {
        /// The tensor.
        tensor: String,
    },
    /// The experts' tensors of one projection are stored in different ways.
    #[error("expert tensor {tensor:?} is not quantized in the same way as {first:?}: expected one way for all experts")]
    Coding {
        /// The tensor at fault.
        tensor: String,
        /// Name of the first expert's tensor.
        first: String,
    },
}
