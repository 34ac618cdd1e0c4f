use longshore_model::experts::ExpertError;
use longshore_st_format::Dtype;

/// A reason for which the expert tensors of a checkpoint cannot be stacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// By their names and shapes they are not the experts of a layer.
    #[error(transparent)]
    Group(#[from] ExpertError),
    /// Experts' tensors of one projection differ in dtype.
    #[error("expert tensor {tensor:?} has the dtype {found}: expected {expected}, that of {first:?}")]
    Dtype {
        /// The tensor at fault.
        tensor: String,
        /// Its dtype.
        found: Dtype,
        /// The first expert's tensor.
        first: String,
        /// The first expert's dtype.
        expected: Dtype,
    },
    /// Elements that do not fill bytes of their own cannot be transposed.
    #[error(
        "expert tensor {tensor:?} has the dtype {found}: expected whole bytes, as this architecture's are transposed"
    )]
    Transpose {
        /// The tensor.
        tensor: String,
        /// Its dtype.
        found: Dtype,
    },
    /// Quantized weights cannot be transposed.
    #[error("expert tensor {tensor:?} is quantized: expected floats, as this architecture's are transposed")]
    TransposeCoded {
        /// The tensor.
        tensor: String,
    },
    /// Experts' tensors of one projection are stored in different ways.
    #[error("expert tensor {tensor:?} is not quantized in the same way as {first:?}: expected one way for all experts")]
    Coding {
        /// The tensor at fault.
        tensor: String,
        /// The first expert's tensor.
        first: String,
    },
}
