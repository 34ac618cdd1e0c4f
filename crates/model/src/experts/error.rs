use longshore_st_format::Shape;

/// Reason why tensors are not the experts of a layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpertError {
    /// An expert's tensor is missing, although a later expert has one.
    #[error("expert tensor {missing:?} not found, though {found:?} is there")]
    Missing {
        /// Name that the missing tensor would have.
        missing: String,
        /// Tensor of the next expert that has one.
        found: String,
    },
    /// Two tensors have the same expert's index, spelled differently.
    #[error("tensors {first:?} and {second:?} are the same expert's")]
    Duplicate {
        /// Name of one of the two tensors.
        first: String,
        /// Name of the other tensor.
        second: String,
    },
    /// An expert's index does not fit in 64 bits.
    #[error("the expert's index in {tensor:?} is too large")]
    Index {
        /// Name of the tensor.
        tensor: String,
    },
    /// The tensors of two experts of one projection differ in shape.
    #[error("expert tensor {tensor:?} has the shape {found}: expected {expected}, that of {first:?}")]
    Shape {
        /// Name of the tensor at fault.
        tensor: String,
        /// Shape of the tensor at fault.
        found: Shape,
        /// Name of the first expert's tensor.
        first: String,
        /// Shape of the first expert's tensor.
        expected: Shape,
    },
    /// The projections of one group have different numbers of experts.
    #[error("{tensor:?} has {found} experts: expected {expected}, as {first:?} has")]
    Count {
        /// Name of the stacked tensor at fault.
        tensor: String,
        /// Number of experts of the tensor at fault.
        found: u64,
        /// Name of the group's first stacked tensor.
        first: String,
        /// Number of experts of the group's first stacked tensor.
        expected: u64,
    },
}
