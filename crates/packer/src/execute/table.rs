//! The tensor table of an import: where every planned tensor came to lie.

use longshore_manifest::document::{BlobEntry, Facts, Import, Part, Quantization, Role, TensorEntry, TensorTable};
use longshore_quant::Profile;

use super::blob::{Done, part};
use crate::{
    ModelConfig,
    plan::{Plan, PlannedBlob, PlannedTensor},
    source::{Member, Source},
};

/// The table of `plan`, whose blobs are `done`.
pub(super) fn table(source: &Source, plan: &Plan, done: &[Done], profile: Profile) -> TensorTable {
    let mut facts = source.config.as_ref().map_or_else(Facts::default, ModelConfig::facts);
    let component = |member: &Member| Some((member.component()?.to_owned(), member.architecture()?.to_owned()));
    facts.components = source.members.iter().filter_map(component).collect();
    let import = Import {
        kind: plan.kind.to_string(),
        quantize: plan.scheme.map(|scheme| scheme.to_string()),
        policy: plan.scheme.map(|_| plan.policy.clone()),
        profile: plan.scheme.map(|_| profile.to_string()),
        metadata: source.metadata.clone(),
    };
    let blobs = plan.blobs.iter().zip(done).map(|(blob, done)| BlobEntry {
        digest: done.added.digest,
        component: blob.component.clone(),
        tensors: blob.tensors.iter().map(|tensor| entry(source, blob, tensor)).collect(),
    });
    TensorTable::new(facts, import, blobs.collect())
}

fn entry(source: &Source, blob: &PlannedBlob, tensor: &PlannedTensor) -> TensorEntry {
    let place = |role| {
        let part = part(blob, tensor, role);
        let length = part.range.end - part.range.start;
        Part { role, dtype: part.dtype, shape: part.shape.clone(), offset: part.range.start, length }
    };
    let mut parts = vec![place(Role::Weight)];
    if let Some(scheme) = tensor.scheme {
        parts.push(place(Role::Scale));
        parts.extend(scheme.has_bias().then(|| place(Role::Bias)));
    }
    let sources: Vec<String> = tensor.sources.iter().map(|&at| source.tensors[at].name.clone()).collect();
    TensorEntry {
        name: tensor.name.clone(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
        quantization: tensor
            .scheme
            .map(|scheme| Quantization { quant_type: scheme.quant_type().into(), group_size: scheme.group_size() }),
        transform: tensor.transform,
        sources: if sources == [tensor.name.as_str()] { Vec::new() } else { sources },
        parts,
    }
}
