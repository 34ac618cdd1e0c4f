//! The experts of a stored model, for readers that fetch one expert.

use std::collections::BTreeMap;

use longshore_model::experts::{ExpertName, ExpertNaming, is_bias};

use super::{Arrangement, BlobEntry, Part, TensorEntry, TensorTable};

/// Experts of one layer of a stored model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ExpertGroup<'t> {
    /// Pipeline component that the experts belong to.
    pub component: Option<&'t str>,
    /// Prefix of the names of the experts' tensors, such as `model.layers.0.mlp.experts`.
    pub name: String,
    /// Number of experts.
    pub experts: u64,
    /// Projections and their biases, each stacked as `[experts, …]`, with the blob that holds it. All share one blob,
    /// unless their schemes differ: then each projection has its own. In the order of the table.
    pub tensors: Vec<(&'t BlobEntry, &'t TensorEntry)>,
}

/// Share of one expert in a stacked tensor.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ExpertTensor<'t> {
    /// Blob that holds the tensor.
    pub blob: &'t BlobEntry,
    /// Stacked tensor of all experts.
    pub tensor: &'t TensorEntry,
    /// Places of this expert's bytes: one range of the blob for each part. No range holds another expert's bytes,
    /// except for a global scale that all experts share.
    pub parts: Vec<Part>,
}

/// Finds the groups of experts of a stored model, in the order of the table.
#[must_use]
pub fn expert_groups(table: &TensorTable) -> Vec<ExpertGroup<'_>> {
    let mut found: Vec<ExpertGroup<'_>> = Vec::new();
    let mut places = BTreeMap::new();
    let naming = table.facts.expert_naming();
    for (blob, tensor) in table.tensors() {
        let (Some(name), Some(experts)) = (group_of(naming, tensor), tensor.shape.dims().first()) else { continue };
        let component = blob.component.as_deref();
        let at = *places.entry((component, name)).or_insert_with(|| {
            found.push(ExpertGroup { component, name: name.to_owned(), experts: *experts, tensors: Vec::new() });
            found.len() - 1
        });
        found[at].tensors.push((blob, tensor));
    }
    // A lone bias is not a group. Tensors of one group with different numbers of experts were not made by an import.
    found.retain(|group| {
        let is_whole = |tensor: &TensorEntry| tensor.shape.dims().first() == Some(&group.experts);
        group.tensors.iter().any(|(_, tensor)| !is_fused_bias(tensor))
            && group.tensors.iter().all(|(_, tensor)| is_whole(tensor))
    });
    found
}

impl<'t> ExpertGroup<'t> {
    /// Returns the bytes of every projection of expert `index`, or `None` if there is no such expert.
    #[must_use]
    pub fn expert(&self, index: u64) -> Option<Vec<ExpertTensor<'t>>> {
        let of_tensor = |&(blob, tensor): &(&'t BlobEntry, &'t TensorEntry)| {
            Some(ExpertTensor { blob, tensor, parts: tensor.expert_parts(index)? })
        };
        self.tensors.iter().map(of_tensor).collect()
    }
}

/// Returns the group of a stored tensor. A stack that import made has sources with an expert's number in their names; a
/// stack of the checkpoint is recognised by its own name.
fn group_of(naming: ExpertNaming, tensor: &TensorEntry) -> Option<&str> {
    if tensor.arrangement == Arrangement::Stack {
        let ExpertName::Single { rest, .. } = naming(tensor.sources.first()?) else { return None };
        return tensor.name.strip_suffix(rest)?.strip_suffix('.');
    }
    match naming(&tensor.name) {
        ExpertName::Fused { group } if tensor.shape.rank() == 3 || is_fused_bias(tensor) => Some(group),
        _ => None,
    }
}

fn is_fused_bias(tensor: &TensorEntry) -> bool {
    tensor.arrangement != Arrangement::Stack && tensor.shape.rank() == 2 && is_bias(&tensor.name)
}
