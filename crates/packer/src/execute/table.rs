//! The tensor table of an import: the place of every planned tensor.

use std::collections::HashMap;

use longshore_manifest::document::{BlobEntry, Facts, Import, Loss, Part, Role, TensorEntry, TensorTable};
use longshore_model::{MAX_CONFIG_BYTES, ModelConfig};

use super::{options::ImportOptions, write::blob::Done};
use crate::{
    plan::planned::{Plan, PlannedBlob, PlannedTensor},
    source::{checkpoint::Source, inventory::StoredTensor, member::Member},
};

/// The table of `plan`. `done` are its finished blobs.
pub(super) fn table(plan: &Plan, done: &[Done], options: &ImportOptions) -> TensorTable {
    let source = plan.source();
    let mut facts = source.config.as_ref().map_or_else(Facts::default, ModelConfig::facts);
    facts.add_template(&source.template);
    if let Some(generation) = source.companions.iter().find(|file| file.name.as_str() == "generation_config.json") {
        facts.add_generation(&generation.bytes(MAX_CONFIG_BYTES).unwrap_or_default());
    }
    let component = |member: &Member| Some((member.component()?.to_owned(), member.architecture()?.to_owned()));
    facts.components = source.members.iter().filter_map(component).collect();
    let mut planned = plan.blobs.iter().flat_map(|blob| &blob.tensors);
    let is_encoded = planned.any(|tensor| tensor.scheme.is_some() && !tensor.is_repacked());
    let import = Import {
        kind: source.kind.to_string(),
        quantize: plan.request(),
        policy: is_encoded.then(|| plan.policy.clone()),
        profile: is_encoded.then(|| options.gptq.as_ref().map_or(options.profile.name(), |_| "gptq").to_owned()),
        importance: options.importance.as_ref().filter(|_| is_encoded).map(|file| file.digest()),
        metadata: source.metadata.clone(),
        derived: source.companions.iter().filter(|file| file.is_derived).map(|file| file.name.to_string()).collect(),
    };
    let origins = origins(source);
    let blobs = plan.blobs.iter().zip(done).map(|(blob, done)| {
        let tensors = blob.tensors.iter().zip(&done.losses).map(|(tensor, loss)| {
            let mut entry = entry(blob, tensor, *loss);
            if let Some(origin) = origins.get(&(blob.component.as_deref(), tensor.name.clone())) {
                (entry.arrangement, entry.change, entry.offset) = (origin.arrangement, origin.change, origin.offset);
                entry.ulps.clone_from(&origin.ulps);
                entry.sources.clone_from(&origin.sources);
            }
            entry
        });
        BlobEntry {
            component: blob.component.clone(),
            chunks: done.added.chunks.clone(),
            ..BlobEntry::new(done.added.digest, tensors.collect())
        }
    });
    let mut table = TensorTable::new(facts, import, blobs.collect());
    table.heads.clone_from(&plan.heads);
    table
}

/// The tensors of a store of this program, by component and name. An earlier import arranged them; this import keeps
/// that arrangement.
fn origins(source: &Source) -> HashMap<(Option<&str>, String), &StoredTensor> {
    let mut found = HashMap::new();
    for member in &source.members {
        for tensor in member.stored().into_iter().filter(|stored| stored.is_ours).flat_map(|stored| &stored.tensors) {
            found.insert((member.component(), member.stored_name(tensor.name.clone())), tensor);
        }
    }
    found
}

pub(super) fn entry(blob: &PlannedBlob, tensor: &PlannedTensor, loss: Option<Loss>) -> TensorEntry {
    let place = |role| Part::new(role, blob.part(tensor, role));
    let mut parts = vec![place(Role::Weight)];
    if let Some(scheme) = tensor.scheme {
        parts.push(place(Role::Scale));
        parts.extend(scheme.has_bias().then(|| place(Role::Bias)));
        parts.extend(tensor.global_scale.is_some().then(|| place(Role::GlobalScale)));
    }
    TensorEntry {
        name: tensor.name.clone(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
        quantization: tensor.quantization(),
        arrangement: tensor.arrangement,
        change: tensor.change,
        ulps: tensor.ulps.clone(),
        offset: tensor.offset,
        sources: match &*tensor.units {
            [unit] if unit.name == tensor.name => Vec::new(),
            units => units.iter().map(|unit| unit.name.clone()).collect(),
        },
        parts,
        loss,
    }
}
