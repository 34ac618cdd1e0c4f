//! The experts of a stored model, for a reader that fetches one of them.

use std::collections::BTreeMap;

use longshore_model::experts::{ExpertName, is_bias};

use super::{Arrangement, BlobEntry, Part, TensorEntry, TensorTable};

/// The experts of a layer of a stored model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ExpertGroup<'t> {
    /// The pipeline's component that it belongs to.
    pub component: Option<&'t str>,
    /// The prefix of its tensors' names, such as `model.layers.0.mlp.experts`.
    pub name: String,
    /// The number of experts.
    pub experts: u64,
    /// The projections and their biases, each stacked as `[experts, …]`, with the blobs that have them: one blob, or one for each
    /// where their schemes differ. In the order of the table.
    pub tensors: Vec<(&'t BlobEntry, &'t TensorEntry)>,
}

/// One expert's share of a stacked tensor.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ExpertTensor<'t> {
    /// The blob that has it.
    pub blob: &'t BlobEntry,
    /// The tensor of all experts.
    pub tensor: &'t TensorEntry,
    /// Where this expert's bytes lie: one range of the blob for each part, and no other expert's bytes in it but for a global
    /// scale that all share.
    pub parts: Vec<Part>,
}

/// The groups of experts of a stored model, in the order of the table.
#[must_use]
pub fn expert_groups(table: &TensorTable) -> Vec<ExpertGroup<'_>> {
    let mut found: Vec<ExpertGroup<'_>> = Vec::new();
    let mut places = BTreeMap::new();
    for (blob, tensor) in table.tensors() {
        let (Some(name), Some(experts)) = (group_of(tensor), tensor.shape.dims().first()) else { continue };
        let component = blob.component.as_deref();
        let at = *places.entry((component, name)).or_insert_with(|| {
            found.push(ExpertGroup { component, name: name.to_owned(), experts: *experts, tensors: Vec::new() });
            found.len() - 1
        });
        found[at].tensors.push((blob, tensor));
    }
    // A bias alone is no group, and what differs in the number of experts is none that an import made.
    found.retain(|group| {
        let is_whole = |tensor: &TensorEntry| tensor.shape.dims().first() == Some(&group.experts);
        group.tensors.iter().any(|(_, tensor)| !is_fused_bias(tensor))
            && group.tensors.iter().all(|(_, tensor)| is_whole(tensor))
    });
    found
}

impl<'t> ExpertGroup<'t> {
    /// The byte ranges of expert `index` in every projection. `None` if there is no such expert.
    #[must_use]
    pub fn expert(&self, index: u64) -> Option<Vec<ExpertTensor<'t>>> {
        let of_tensor = |&(blob, tensor): &(&'t BlobEntry, &'t TensorEntry)| {
            Some(ExpertTensor { blob, tensor, parts: tensor.expert_parts(index)? })
        };
        self.tensors.iter().map(of_tensor).collect()
    }
}

/// The group of a stored tensor. What import stacked ends as its sources do; what the checkpoint stacked has a name that says so.
fn group_of(tensor: &TensorEntry) -> Option<&str> {
    if tensor.arrangement == Arrangement::Stack {
        let ExpertName::Single { rest, .. } = ExpertName::parse(tensor.sources.first()?) else { return None };
        return tensor.name.strip_suffix(rest)?.strip_suffix('.');
    }
    match ExpertName::parse(&tensor.name) {
        ExpertName::Fused { group } if tensor.shape.rank() == 3 || is_fused_bias(tensor) => Some(group),
        _ => None,
    }
}

fn is_fused_bias(tensor: &TensorEntry) -> bool {
    tensor.arrangement != Arrangement::Stack && tensor.shape.rank() == 2 && is_bias(&tensor.name)
}
