//! The experts of a layer, stacked into one tensor for each projection.

mod error;
mod name;
mod stored;

use std::collections::BTreeMap;

pub use error::ExpertError;
use longshore_st_format::{Dtype, Shape};
pub use stored::{ExpertGroup, ExpertTensor, expert_groups};

use self::name::Role;
use crate::{
    coding::{Coding, ModelTensor, PackedLayout},
    companions::has_suffix,
    plan::Transform,
};

/// A checkpoint's tensors, told apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Grouping {
    /// Indices of the tensors that no group has.
    pub plain: Vec<usize>,
    /// The groups by name, each with its stacked tensors in byte order of their names.
    pub groups: BTreeMap<String, Vec<Stack>>,
}

/// One tensor of all experts of a layer, `[experts, …]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stack {
    pub name: String,
    pub dtype: Dtype,
    /// After the transform.
    pub shape: Shape,
    pub transform: Transform,
    pub coding: Coding,
    /// Indices of the tensors that it is made of, in the order of the experts.
    pub tensors: Vec<usize>,
    /// Whether each expert has a weight matrix here, not a bias or another vector.
    pub is_matrix: bool,
}

impl Stack {
    fn experts(&self) -> u64 {
        self.shape.dims().first().copied().unwrap_or_default()
    }
}

/// Groups `tensors`, whose names are unique. With `transposed`, fused weights under the names of gpt-oss and Llama 4 are
/// `[experts, in, out]` and become `[experts, out, in]`.
pub(crate) fn group(tensors: &[ModelTensor], transposed: bool) -> Result<Grouping, ExpertError> {
    let mut grouping = Grouping::default();
    let mut singles: BTreeMap<(&str, &str), Vec<(u64, usize)>> = BTreeMap::new();
    let mut fused_biases = Vec::new();
    for (at, tensor) in tensors.iter().enumerate() {
        match name::role(&tensor.name) {
            Role::Expert { group, index, rest } => {
                let index = index.parse().map_err(|_| ExpertError::Index { tensor: tensor.name.clone() })?;
                singles.entry((group, rest)).or_default().push((index, at));
            }
            Role::Fused { group } if tensor.shape.rank() == 3 => {
                grouping.groups.entry(group.to_owned()).or_default().push(fused(tensor, at, transposed)?);
            }
            Role::Fused { group } if tensor.shape.rank() == 2 && is_bias(&tensor.name) => {
                fused_biases.push((group, at));
            }
            Role::Fused { .. } | Role::Plain => grouping.plain.push(at),
        }
    }
    for ((group, rest), experts) in singles {
        let stack = stack(tensors, group, rest, experts)?;
        grouping.groups.entry(group.to_owned()).or_default().push(stack);
    }
    // A bias belongs to a group only where there is a weight to which it could be added.
    for (group, at) in fused_biases {
        match grouping.groups.get_mut(group) {
            Some(stacks) => stacks.push(fused(&tensors[at], at, false)?),
            None => grouping.plain.push(at),
        }
    }
    grouping.plain.sort_unstable_by(|a, b| tensors[*a].name.cmp(&tensors[*b].name));
    for stacks in grouping.groups.values_mut() {
        stacks.sort_by(|a, b| a.name.cmp(&b.name));
        same_count(stacks)?;
    }
    Ok(grouping)
}

/// A tensor that the checkpoint itself stores for all experts.
fn fused(tensor: &ModelTensor, at: usize, transposed: bool) -> Result<Stack, ExpertError> {
    let is_matrix = tensor.shape.rank() == 3 && !is_bias(&tensor.name);
    let (shape, transform) = match *tensor.shape.dims() {
        // They lie as they should, but the float checkpoint's lie as these architectures have them.
        _ if matches!(tensor.coding, Coding::Packed { layout: PackedLayout::Blocks, .. }) => {
            (tensor.shape.clone(), Transform::Transpose)
        }
        [experts, inner, outer] if transposed && may_be_transposed(&tensor.name) => {
            if !tensor.dtype.bits().is_multiple_of(8) {
                return Err(ExpertError::Transpose { tensor: tensor.name.clone(), found: tensor.dtype });
            }
            if tensor.coding != Coding::Plain {
                return Err(ExpertError::TransposeCoded { tensor: tensor.name.clone() });
            }
            (Shape::new([experts, outer, inner]), Transform::Transpose)
        }
        _ => (tensor.shape.clone(), Transform::None),
    };
    let ModelTensor { name, dtype, coding, .. } = tensor;
    Ok(Stack { name: name.clone(), dtype: *dtype, shape, transform, coding: *coding, tensors: vec![at], is_matrix })
}

/// Whether gpt-oss and Llama 4 call a fused weight so. MLX writes these architectures with `.weight` at the end, and already
/// the other way round.
pub(crate) fn may_be_transposed(name: &str) -> bool {
    [".experts.gate_up_proj", ".experts.down_proj"].iter().any(|end| has_suffix(name, end))
}

/// One projection's tensors, each with its expert's index.
fn stack(
    tensors: &[ModelTensor],
    group: &str,
    rest: &str,
    mut experts: Vec<(u64, usize)>,
) -> Result<Stack, ExpertError> {
    experts.sort_unstable();
    let first = &tensors[experts[0].1];
    for (expected, &(index, at)) in (0..).zip(&experts) {
        let tensor = &tensors[at];
        let name = || tensor.name.clone();
        if index < expected {
            let (_, before) = experts[usize::try_from(index).expect("it is below a length")];
            return Err(ExpertError::Duplicate { first: tensors[before].name.clone(), second: name() });
        }
        if index > expected {
            return Err(ExpertError::Missing { missing: format!("{group}.{expected}.{rest}"), found: name() });
        }
        if tensor.dtype != first.dtype {
            let (found, expected) = (tensor.dtype, first.dtype);
            return Err(ExpertError::Dtype { tensor: name(), found, first: first.name.clone(), expected });
        }
        if tensor.shape != first.shape {
            let (found, expected) = (tensor.shape.clone(), first.shape.clone());
            return Err(ExpertError::Shape { tensor: name(), found, first: first.name.clone(), expected });
        }
    }
    for &(_, at) in &experts {
        let tensor = &tensors[at];
        if (tensor.coding, tensor.sources.len()) != (first.coding, first.sources.len()) {
            return Err(ExpertError::Coding { tensor: tensor.name.clone(), first: first.name.clone() });
        }
    }
    let shape: Vec<u64> = std::iter::once(experts.len() as u64).chain(first.shape.dims().iter().copied()).collect();
    Ok(Stack {
        name: format!("{group}.{rest}"),
        dtype: first.dtype,
        shape: Shape::from(shape),
        transform: Transform::Stack,
        is_matrix: first.shape.rank() >= 2 && !is_bias(rest),
        coding: first.coding,
        tensors: experts.into_iter().map(|(_, at)| at).collect(),
    })
}

fn is_bias(name: &str) -> bool {
    has_suffix(name, "bias")
}

/// Refuses a group whose projections have different numbers of experts.
fn same_count(stacks: &[Stack]) -> Result<(), ExpertError> {
    let Some((first, others)) = stacks.split_first() else { return Ok(()) };
    match others.iter().find(|stack| stack.experts() != first.experts()) {
        None => Ok(()),
        Some(odd) => Err(ExpertError::Count {
            tensor: odd.name.clone(),
            found: odd.experts(),
            first: first.name.clone(),
            expected: first.experts(),
        }),
    }
}

#[cfg(test)]
mod tests;
