//! Stacking the experts of a layer.

use std::collections::BTreeMap;

use longshore_manifest::document::Arrangement;
use longshore_model::experts::{ExpertNaming, Projection, group_by, may_be_transposed};
use longshore_st_format::{Dtype, Shape};

use super::error::StackError;
use crate::model::{
    coding::kind::{Coding, PackedLayout},
    tensor::ModelTensor,
};

/// Tensors of a model, with the experts of each layer stacked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stacks {
    /// Indices of the tensors that belong to no group of experts.
    pub plain: Vec<usize>,
    /// The groups by name, each with its stacked tensors in byte order of their names.
    pub groups: BTreeMap<String, Vec<Stack>>,
}

/// One tensor that holds a projection of all experts of a layer, `[experts, …]`, or any other single tensor of a model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stack {
    pub name: String,
    pub dtype: Dtype,
    /// Shape after arranging.
    pub shape: Shape,
    pub arrangement: Arrangement,
    pub coding: Coding,
    /// Indices of the tensors that are stacked, in the order of the experts.
    pub tensors: Vec<usize>,
    /// Whether each expert has a weight matrix here. False for biases and other vectors.
    pub is_matrix: bool,
}

/// Stacks the experts among `tensors`, whose names are unique and parsed by `naming`. If `transposed` is set, fused weights under the names of
/// gpt-oss and Llama 4 have the shape `[experts, in, out]` and become `[experts, out, in]`.
pub(crate) fn stack(tensors: &[ModelTensor], naming: ExpertNaming, transposed: bool) -> Result<Stacks, StackError> {
    let grouping = group_by(naming, tensors.iter().map(|tensor| (tensor.name.as_str(), &tensor.shape)))?;
    let mut groups = BTreeMap::new();
    for (name, projections) in grouping.groups {
        let stack = |projection: Projection| {
            if projection.is_fused { fused(tensors, projection, transposed) } else { of_singles(tensors, projection) }
        };
        groups.insert(name, projections.into_iter().map(stack).collect::<Result<_, _>>()?);
    }
    Ok(Stacks { plain: grouping.plain, groups })
}

/// Describes a tensor that already holds all experts in the checkpoint.
fn fused(tensors: &[ModelTensor], projection: Projection, transposed: bool) -> Result<Stack, StackError> {
    let Projection { name, shape, tensors: at, is_matrix, .. } = projection;
    let &ModelTensor { dtype, coding, .. } = &tensors[at[0]];
    let (shape, arrangement) = match *shape.dims() {
        // Blocks already have the stored orientation. The arrangement records that the float checkpoint has the other
        // one.
        _ if matches!(coding, Coding::Packed { layout: PackedLayout::Blocks, .. }) => (shape, Arrangement::Transpose),
        [experts, inner, outer] if transposed && may_be_transposed(&name) => {
            if !dtype.bits().is_multiple_of(8) {
                return Err(StackError::Transpose { tensor: name, found: dtype });
            }
            if coding != Coding::Plain {
                return Err(StackError::TransposeCoded { tensor: name });
            }
            (Shape::new([experts, outer, inner]), Arrangement::Transpose)
        }
        _ => (shape, Arrangement::None),
    };
    Ok(Stack { name, dtype, shape, arrangement, coding, tensors: at, is_matrix })
}

/// Stacks a projection of which each expert has its own tensor. All of these tensors must have the same type and
/// coding.
fn of_singles(tensors: &[ModelTensor], projection: Projection) -> Result<Stack, StackError> {
    let Projection { name, shape, tensors: experts, is_matrix, .. } = projection;
    let first = &tensors[experts[0]];
    for tensor in experts.iter().map(|at| &tensors[*at]) {
        let (name, of_first) = (|| tensor.name.clone(), || first.name.clone());
        if tensor.dtype != first.dtype {
            let (found, expected) = (tensor.dtype, first.dtype);
            return Err(StackError::Dtype { tensor: name(), found, first: of_first(), expected });
        }
        if tensor.coding != first.coding || !tensor.parts.are_like(&first.parts) {
            return Err(StackError::Coding { tensor: name(), first: of_first() });
        }
    }
    let (dtype, coding) = (first.dtype, first.coding);
    Ok(Stack { name, dtype, shape, arrangement: Arrangement::Stack, coding, tensors: experts, is_matrix })
}

#[cfg(test)]
mod tests {
    use longshore_model::experts::ExpertName;

    use super::*;
    use crate::tensor::SourceParts;

    fn tensor(name: &str, dims: &[u64]) -> ModelTensor {
        ModelTensor {
            name: name.to_owned(),
            dtype: Dtype::BF16,
            shape: Shape::from(dims),
            coding: Coding::Plain,
            parts: SourceParts::plain(0),
        }
    }

    fn tensors(list: &[(&str, &[u64])]) -> Vec<ModelTensor> {
        list.iter().map(|(name, dims)| tensor(name, dims)).collect()
    }

    fn stack_by_name(tensors: &[ModelTensor], transposed: bool) -> Result<Stacks, StackError> {
        stack(tensors, |name| ExpertName::parse(name), transposed)
    }

    #[test]
    fn only_the_fused_weights_of_two_families_are_transposed() {
        let tensors = tensors(&[
            ("l.mlp.experts.down_proj", &[2, 6, 4]),
            ("l.mlp.experts.down_proj_bias", &[2, 4]),
            ("l.mlp.experts.gate_up_proj", &[2, 4, 12]),
            ("l.mlp.experts.up_proj.weight", &[2, 6, 4]),
        ]);
        let stacks = stack_by_name(&tensors, true).expect("they are whole");
        let found: Vec<_> =
            stacks.groups["l.mlp.experts"].iter().map(|stack| (stack.shape.dims(), stack.arrangement)).collect();
        assert_eq!(
            found,
            [
                (&[2, 4, 6][..], Arrangement::Transpose),
                (&[2, 4], Arrangement::None),
                (&[2, 12, 4], Arrangement::Transpose),
                (&[2, 6, 4], Arrangement::None),
            ]
        );
        let kept = stack_by_name(&tensors, false).expect("they are whole");
        assert!(kept.groups["l.mlp.experts"].iter().all(|stack| stack.arrangement == Arrangement::None));
    }

    #[test]
    fn experts_have_one_type_and_one_coding() {
        let list = || tensors(&[("e.experts.0.w", &[2, 2]), ("e.experts.1.w", &[2, 2])]);
        let mut other_type = list();
        other_type[1].dtype = Dtype::F32;
        let error = stack_by_name(&other_type, false).expect_err("their types differ");
        let expected = r#"expert tensor "e.experts.1.w" has the dtype F32: expected BF16, that of "e.experts.0.w""#;
        assert_eq!(error.to_string(), expected);
        let mut more_parts = list();
        more_parts[1].parts.scales = Some(1);
        assert!(matches!(stack_by_name(&more_parts, false), Err(StackError::Coding { .. })));
        assert!(matches!(stack_by_name(&list()[1..], false), Err(StackError::Group(_))));
    }

    #[test]
    fn elements_narrower_than_a_byte_are_not_transposed() {
        let fused = |dtype| ModelTensor { dtype, ..tensor("l.mlp.experts.down_proj", &[2, 4, 3]) };
        let error = stack_by_name(&[fused(Dtype::F4)], true).expect_err("F4 has half bytes");
        assert!(
            matches!(error, StackError::Transpose { ref tensor, found: Dtype::F4 } if tensor == "l.mlp.experts.down_proj")
        );
        assert!(stack_by_name(&[fused(Dtype::F4)], false).is_ok());
        assert!(stack_by_name(&[fused(Dtype::F8E4M3)], true).is_ok());
    }
}
