//! Errors of load planning.

use std::ops::Range;

use longshore_st_format::{Dtype, Shape};

use super::{Shard, ShardAxis, shard::ShareProblem};
use crate::document::{Role, TensorEntry};

/// Reason why a load cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadPlanError {
    /// The component has no tensors.
    #[error("no tensors in the component {component:?}; the model has {found:?}")]
    Component {
        /// Component that was selected.
        component: String,
        /// Components of the model. Empty for a model of one part.
        found: Vec<String>,
    },
    /// A tensor that was selected by name does not exist.
    #[error("no tensor {name:?}{}", near_names(near))]
    UnknownTensor {
        /// Name of the tensor.
        name: String,
        /// Names of tensors that are like it.
        near: Vec<String>,
    },
    /// The stored values of a tensor have an offset from the model's.
    #[error(
        "tensor {tensor:?} holds the model's values plus {offset}, as its GGUF file does: subtracting that would lose bits, so that it cannot be loaded"
    )]
    Offset {
        /// Name of the tensor.
        tensor: String,
        /// The offset.
        offset: i32,
    },
    /// No tensor meets the selection.
    #[error("no tensor matches {}{}", wanted(globs, layers.as_ref()), found_names(found.as_ref(), near))]
    NoMatch {
        /// Globs of the selection.
        globs: Vec<String>,
        /// Layers of the selection.
        layers: Option<Range<u64>>,
        /// Layers of the model, if some were selected.
        found: Option<Range<u64>>,
        /// Names of tensors that are like the globs.
        near: Vec<String>,
    },
    /// Values of a plain tensor cannot be cast.
    #[error("tensor {tensor:?} is {found}, which cannot be converted to {to}")]
    Convert {
        /// Name of the tensor.
        tensor: String,
        /// Type of the tensor.
        found: Dtype,
        /// Requested type.
        to: Dtype,
    },
    /// A pattern does not parse as a glob.
    #[error("the pattern {pattern:?} is not a glob: {reason}")]
    Glob {
        /// Pattern that does not parse.
        pattern: String,
        /// Error of the glob parser.
        reason: String,
    },
    /// Experts were selected in a model without experts.
    #[error("experts are selected, and no tensor belongs to an expert or is a stack of experts")]
    NoExperts,
    /// An expert was selected that a stack does not have.
    #[error("tensor {tensor:?} has no expert {expert}: expected a number below {experts}")]
    Expert {
        /// Name of the stack.
        tensor: String,
        /// Number of the selected expert.
        expert: u64,
        /// Number of experts in the stack.
        experts: u64,
    },
    /// An expert was selected to which no tensor belongs, in a model without stacks.
    #[error("no tensor belongs to expert {expert}")]
    UnknownExpert {
        /// Number of the selected expert.
        expert: u64,
    },
    /// An expert was selected twice.
    #[error("expert {expert} is selected twice")]
    ExpertTwice {
        /// Number of the expert.
        expert: u64,
    },
    /// A share was selected that does not exist.
    #[error("the share {rank} of {of} for {pattern:?} does not exist: expected a number below {of}, counted from 0")]
    Rank {
        /// Glob of the rule.
        pattern: String,
        /// Number of the selected share, counted from 0.
        rank: u64,
        /// Number of shares.
        of: u64,
    },
    /// The share of a tensor-parallel device was selected in a model without a tensor that is divided.
    #[error("a share of {of} is selected, and no tensor has a name, such as q_proj.weight, by which it is divided")]
    NoShares {
        /// Number of shares.
        of: u64,
    },
    /// A tensor lacks the axis along which it is to be divided.
    #[error("tensor {tensor:?} is {shape} and has no {} to share out", axis_name(*axis))]
    NoAxis {
        /// Name of the tensor.
        tensor: String,
        /// Shape of the tensor.
        shape: Shape,
        /// Axis that the tensor lacks.
        axis: ShardAxis,
    },
    /// A tensor cannot be divided into equal shares. Nothing is padded.
    #[error(
        "tensor {tensor:?} is {shape}{}, whose {} {} are not {of} equal shares",
        group(*group_size), extent(shape, *axis), axis_name(*axis)
    )]
    Uneven {
        /// Name of the tensor.
        tensor: String,
        /// Shape of the tensor, or of the part of it that cannot be divided.
        shape: Shape,
        /// Number of elements of a quantization group, which is never divided.
        group_size: Option<u32>,
        /// Axis along which the tensor is to be divided.
        axis: ShardAxis,
        /// Number of shares.
        of: u64,
    },
    /// The elements of a part take more bytes than the table gives the part.
    #[error("the {role:?} of tensor {tensor:?} has more elements than bytes in its blob")]
    Part {
        /// Name of the tensor.
        tensor: String,
        /// Role of the part.
        role: Role,
    },
    /// The plan needs more bytes than fit in 64 bits.
    #[error("tensor {tensor:?} ends beyond the largest address")]
    TooLarge {
        /// Name of the tensor.
        tensor: String,
    },
    /// Values cannot be cast to the requested type.
    #[error("values cannot be cast to {found}: expected F32, F16 or BF16")]
    Dtype {
        /// Requested type.
        found: Dtype,
    },
}

fn axis_name(axis: ShardAxis) -> &'static str {
    match axis {
        ShardAxis::Rows => "rows",
        ShardAxis::Columns => "columns",
    }
}

fn near_names(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; there are {}", list(near)) }
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

fn wanted(globs: &[String], layers: Option<&Range<u64>>) -> String {
    let layers = layers.map(|layers| format!("the layers {}..{}", layers.start, layers.end));
    let globs = (!globs.is_empty()).then(|| list(globs));
    match (globs, layers) {
        (Some(globs), Some(layers)) => format!("{globs} in {layers}"),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => "the selection".into(),
    }
}

fn found_names(layers: Option<&Range<u64>>, near: &[String]) -> String {
    let layers =
        layers.map_or_else(String::new, |found| format!("; the model has the layers {}..{}", found.start, found.end));
    format!("{layers}{}", near_names(near))
}

/// The number of rows or columns of a shape, to say which extent cannot be divided.
fn extent(shape: &Shape, axis: ShardAxis) -> String {
    match (axis, shape.dims()) {
        (ShardAxis::Columns, [.., last]) => last.to_string(),
        (ShardAxis::Rows, [only] | [only, _]) => only.to_string(),
        (ShardAxis::Rows, [.., rows, _]) => rows.to_string(),
        _ => String::new(),
    }
}

fn group(size: Option<u32>) -> String {
    size.map_or_else(String::new, |size| format!(" in groups of {size}"))
}

impl LoadPlanError {
    pub(super) fn of_share(problem: ShareProblem, tensor: &TensorEntry, shape: &Shape, shard: Option<Shard>) -> Self {
        let (name, shape) = (tensor.name.clone(), shape.clone());
        match (problem, shard) {
            (ShareProblem::NoAxis, Some(shard)) => Self::NoAxis { tensor: name, shape, axis: shard.axis },
            (ShareProblem::Uneven, Some(Shard { axis, of, .. })) => {
                let group_size = tensor.quantization.as_ref().map(|found| found.group_size);
                Self::Uneven { tensor: name, shape, group_size, axis, of }
            }
            // Without a shard, uneven means that two experts share a byte.
            (ShareProblem::Uneven, None) => {
                let of = shape.dims().first().copied().unwrap_or_default();
                Self::Uneven { tensor: name, shape, group_size: None, axis: ShardAxis::Rows, of }
            }
            _ => Self::TooLarge { tensor: name },
        }
    }
}
