//! Why a plan cannot be made.

use longshore_st_format::{Dtype, Shape};

use super::{Shard, ShardAxis, shard::ShareProblem};
use crate::document::{Role, TensorEntry};

/// A plan that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadPlanError {
    /// No tensor is in the component.
    #[error("no tensors in the component {component:?}; the model has {found:?}")]
    Component {
        /// The component that was asked for.
        component: String,
        /// The components that the model has; none in a model of one part.
        found: Vec<String>,
    },
    /// A tensor that was named is not there.
    #[error("no tensor {name:?}")]
    UnknownTensor {
        /// The name.
        name: String,
    },
    /// A glob that means nothing.
    #[error("the pattern {pattern:?} is no glob: {reason}")]
    Glob {
        /// The pattern.
        pattern: String,
        /// The problem.
        reason: String,
    },
    /// Experts were asked for of a model that has none.
    #[error("experts are selected, and no tensor belongs to an expert or is a stack of experts")]
    NoExperts,
    /// An expert that a stack does not have.
    #[error("tensor {tensor:?} has no expert {expert}: expected a number below {experts}")]
    Expert {
        /// The stack.
        tensor: String,
        /// The expert that was asked for.
        expert: u64,
        /// The number of experts.
        experts: u64,
    },
    /// An expert that no tensor belongs to, of a model without stacks.
    #[error("no tensor belongs to expert {expert}")]
    UnknownExpert {
        /// The expert that was asked for.
        expert: u64,
    },
    /// An expert was asked for twice.
    #[error("expert {expert} is selected twice")]
    ExpertTwice {
        /// The expert.
        expert: u64,
    },
    /// A share that does not exist.
    #[error("the share {rank} of {of} for {pattern:?} does not exist: expected a number below {of}, counted from 0")]
    Rank {
        /// The glob of the rule.
        pattern: String,
        /// The share that was asked for.
        rank: u64,
        /// The number of shares.
        of: u64,
    },
    /// A tensor without the axis that is to be shared out.
    #[error("tensor {tensor:?} is {shape} and has no {} to share out", axis_name(*axis))]
    NoAxis {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Shape,
        /// The axis.
        axis: ShardAxis,
    },
    /// A tensor that has no equal shares. Nothing is padded.
    #[error(
        "tensor {tensor:?} is {shape}{}, whose {} are not {of} equal shares",
        group(*group_size), axis_name(*axis)
    )]
    Uneven {
        /// The tensor.
        tensor: String,
        /// The shape of it, or of the part of it that cannot be shared out.
        shape: Shape,
        /// The elements of a quantization group, which stays whole.
        group_size: Option<u32>,
        /// The axis.
        axis: ShardAxis,
        /// The number of shares.
        of: u64,
    },
    /// A tensor that ends behind the part of the blob that the table gives it.
    #[error("the {role:?} of tensor {tensor:?} has more elements than bytes in its blob")]
    Part {
        /// The tensor.
        tensor: String,
        /// The part.
        role: Role,
    },
    /// More bytes than can be counted.
    #[error("tensor {tensor:?} ends behind the largest address")]
    TooLarge {
        /// The tensor.
        tensor: String,
    },
    /// A type that values cannot be cast to.
    #[error("values cannot be cast to {found}: expected F32, F16 or BF16")]
    Dtype {
        /// The type that was asked for.
        found: Dtype,
    },
}

fn axis_name(axis: ShardAxis) -> &'static str {
    match axis {
        ShardAxis::Rows => "rows",
        ShardAxis::Columns => "columns",
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
            // Experts of no whole bytes are experts that share one.
            (ShareProblem::Uneven, None) => {
                let of = shape.dims().first().copied().unwrap_or_default();
                Self::Uneven { tensor: name, shape, group_size: None, axis: ShardAxis::Rows, of }
            }
            _ => Self::TooLarge { tensor: name },
        }
    }
}
