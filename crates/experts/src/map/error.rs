//! Errors of finding the experts.

/// Reason why the experts of a model cannot be told apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpertMapError {
    /// The model has no part of this name.
    #[error("no tensors in the component {component:?}; the model has {found:?}")]
    Component {
        /// Component that was asked for.
        component: String,
        /// Components of the model.
        found: Vec<String>,
    },
    /// An expert lacks a tensor that a later expert has.
    #[error("layer {layer}: no tensor of expert {expert} in {group:?} for {projection:?}, which expert {found} has")]
    Missing {
        /// Number of the layer.
        layer: u32,
        /// Name of the group of experts.
        group: String,
        /// Rest of the tensor's name, after the expert's number.
        projection: String,
        /// Number of the expert without the tensor.
        expert: u32,
        /// Number of the next expert with it.
        found: u32,
    },
    /// Two tensors are the same expert's.
    #[error("layer {layer}: the tensors {first:?} and {second:?} are the same expert's")]
    Duplicate {
        /// Number of the layer.
        layer: u32,
        /// Name of one tensor.
        first: String,
        /// Name of the other.
        second: String,
    },
    /// The tensors of a layer do not agree on the number of experts.
    #[error("layer {layer}: {tensor:?} has {found} experts, expected {expected}, as {first:?} has")]
    Count {
        /// Number of the layer.
        layer: u32,
        /// Name of the tensor at fault.
        tensor: String,
        /// Number of its experts.
        found: u64,
        /// Name of the layer's first tensor.
        first: String,
        /// Number of that tensor's experts.
        expected: u64,
    },
    /// Two sets of experts have the same number of a layer.
    #[error("layer {layer} has two sets of experts, {first:?} and {second:?}: expected one")]
    Ambiguous {
        /// Number of the layer.
        layer: u32,
        /// Name of one group.
        first: String,
        /// Name of the other.
        second: String,
    },
    /// A number in a name, or of experts, does not fit in 32 bits.
    #[error("a number in the name or shape of {tensor:?} is too large: expected at most {}", u32::MAX)]
    TooLarge {
        /// Name of the tensor.
        tensor: String,
    },
    /// The experts of a stack do not have whole bytes of their own.
    #[error("the stack {tensor:?} of shape {shape} does not give each of its experts whole bytes of its own")]
    Uneven {
        /// Name of the tensor.
        tensor: String,
        /// Its shape, spelled.
        shape: String,
    },
}
