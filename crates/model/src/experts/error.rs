use longshore_st_format::Shape;

/// A reason for which tensors are not the experts of a layer.
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
    /// The projections of one group have different numbers of experts.
    #[error("{tensor:?} has {found} experts: expected {expected}, as {first:?} has")]
    Count {
        /// The stacked tensor at fault.
        tensor: String,
        /// Its number of experts.
        found: u64,
        /// The group's first stacked tensor.
        first: String,
        /// That tensor's number of experts.
        expected: u64,
    },
}
