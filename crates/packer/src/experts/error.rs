use longshore_st_format::{Dtype, Shape};

/// Why the expert tensors of a checkpoint cannot be stacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpertError {
    /// An index is missing below the largest.
    #[error("expert tensor {missing:?} not found, though {found:?} is there")]
    Missing {
        /// The name that the tensor should have.
        missing: String,
        /// The tensor of the next larger index that exists.
        found: String,
    },
    /// Two tensors have the same index, written differently.
    #[error("tensors {first:?} and {second:?} are the same expert's")]
    Duplicate {
        /// One of the tensors.
        first: String,
        /// The other.
        second: String,
    },
    /// An index does not fit in 64 bits.
    #[error("the expert's index in {tensor:?} is too large")]
    Index {
        /// The tensor.
        tensor: String,
    },
    /// Experts' tensors of one projection differ in shape.
    #[error("expert tensor {tensor:?} has the shape {found}: expected {expected}, that of {first:?}")]
    Shape {
        /// The tensor at fault.
        tensor: String,
        /// Its shape.
        found: Shape,
        /// The first expert's tensor.
        first: String,
        /// The first expert's shape.
        expected: Shape,
    },
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
    /// The projections of one group have different numbers of experts.
    #[error("{tensor:?} has {found} experts: expected {expected}, as {first:?} has")]
    Count {
        /// The stacked tensor at fault.
        tensor: String,
        /// How many experts it has.
        found: u64,
        /// The group's first stacked tensor.
        first: String,
        /// How many experts that has.
        expected: u64,
    },
}
