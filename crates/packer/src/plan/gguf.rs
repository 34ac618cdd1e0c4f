//! Planning the tensors of GGUF files.

use std::collections::HashSet;

use super::{
    blocks::{BlockDecider, BlockDecision},
    error::PlanError,
    layout::Draft,
    nvfp4,
    options::PlanOptions,
    planned::{PlannedTensor, Unit},
};
use crate::{
    gguf::names::{Canonical, canonical},
    model::{coding::kind::Coding, tensor::ModelTensor},
    source::member::Member,
    tensor::SourceTensor,
};

/// Plans the tensors of a member that consists of GGUF files, or was imported from some. Each becomes a blob of its own,
/// with the bytes that the file has or in the scheme that the options ask for.
pub(super) fn drafts(
    member: &Member,
    files: &[SourceTensor],
    tensors: Vec<ModelTensor>,
    options: &PlanOptions,
) -> Result<Vec<Draft>, PlanError> {
    let is_stored = member.stored().is_some();
    let mut decider = BlockDecider::new(member, options);
    let mut drafts = Vec::with_capacity(tensors.len());
    let scales = nvfp4::scales(&tensors);
    let mut used = HashSet::new();
    for tensor in tensors {
        let ModelTensor { name: own, dtype, shape, coding, mut parts } = tensor;
        let Canonical { name, arrangement } =
            if is_stored { Canonical::kept(&own) } else { canonical(member.architecture(), &own) };
        let BlockDecision { scheme, dtype, coding, rule } = decider.decide(&name, dtype, &shape, coding)?;
        let global_scale = nvfp4::global_scale(&scales, scheme, coding, &own, &shape, &mut parts);
        if let (Coding::Ggml { .. }, Some(at)) = (coding, parts.global_scale) {
            used.insert(at);
        }
        let source_len = parts.iter().map(|(_, at)| files[at].byte_len()).fold(0, u64::saturating_add);
        let mut planned = PlannedTensor {
            name: name.clone(),
            dtype,
            shape,
            scheme,
            global_scale,
            arrangement,
            coding,
            units: vec![Unit { name: own, parts }],
            rule,
            source_len,
        };
        if planned.global_scale.is_none() && planned.has_global_scale() {
            planned.global_scale = parts.global_scale.map(|at| files[at].shape.clone());
        }
        drafts.push(Draft::new(name, vec![planned]));
    }
    decider.finish()?;
    // The scale of an NVFP4 tensor is part of the tensor that it was taken over with.
    drafts.retain(|draft| {
        let mut units = draft.tensors.iter().flat_map(|tensor| &tensor.units);
        units.all(|unit| !used.contains(&unit.parts.weight))
    });
    Ok(drafts)
}
