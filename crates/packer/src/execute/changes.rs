//! The record of what an import does to values.

use std::collections::{BTreeMap, HashSet};

use longshore_manifest::document::{Base, Calibrated, Changes, MergedAdapter, Rotated, Scaled};

use super::{options::ImportOptions, write::blob::Done};
use crate::{plan::planned::Plan, source::merging::SourceAdapter};

/// The model that the plan's source is an attachment of.
pub(super) fn base(plan: &Plan) -> Option<Base> {
    Some(Base::new(plan.source().base?, Base::ADAPTER))
}

/// What importing `plan` does to values, after what an earlier import did to those of the source. `None` if nothing was done.
pub(super) fn changes(plan: &Plan, done: &[Done], options: &ImportOptions) -> Option<Changes> {
    let mut changes = plan.source().changes.clone().unwrap_or_default();
    let adapters = plan.source().adapters.iter().enumerate();
    changes.adapters.extend(adapters.map(|(number, adapter)| merged(plan, number, adapter)));
    if let Some(rotation) = &plan.source().rotation {
        let (order, power) = rotation.rotation.orders();
        changes.rotation = Some(Rotated::new(rotation.seed, order as u64, power as u64));
    }
    if let Some(awq) = &plan.awq {
        changes.awq = Some(Scaled::new(awq.power, awq.statistics.digest()));
    }
    let tensors = || plan.blobs.iter().flat_map(|blob| &blob.tensors);
    let by_hessians = done.iter().flat_map(|done| &done.by_hessians);
    let chosen: Vec<_> = tensors().zip(by_hessians).filter(|(_, chosen)| **chosen).collect();
    if let Some(gptq) = options.gptq.as_ref().filter(|_| !chosen.is_empty()) {
        let held = gptq.held.as_ref().map(|file| file.digest());
        let names = chosen.into_iter().map(|(tensor, _)| tensor.name.clone()).collect();
        changes.gptq = Some(Calibrated::new(gptq.hessians.digest(), held, names));
    } else if let Some(gptq) = &mut changes.gptq {
        // Codes that were chosen anew are no longer those of the record.
        let kept: HashSet<&str> =
            tensors().filter(|tensor| tensor.is_repacked()).map(|tensor| tensor.name.as_str()).collect();
        gptq.tensors.retain(|name| kept.contains(name.as_str()));
    }
    changes.gptq = changes.gptq.filter(|gptq| !gptq.tensors.is_empty());
    Some(changes).filter(|changes| !changes.is_empty())
}

/// What the adapter with this number does to the tensors of a plan.
fn merged(plan: &Plan, number: usize, adapter: &SourceAdapter) -> MergedAdapter {
    let source = plan.source();
    let tensors = || plan.blobs.iter().flat_map(|blob| &blob.tensors);
    let mut scales = BTreeMap::<String, Vec<f32>>::new();
    for tensor in tensors() {
        for merge in tensor.merges.iter().filter(|merge| merge.adapter == number) {
            scales.entry(tensor.name.clone()).or_default().push(merge.scale);
        }
    }
    for scales in scales.values_mut() {
        let first = scales[0].to_bits();
        if scales.iter().all(|scale| scale.to_bits() == first) {
            scales.truncate(1);
        }
    }
    let is_own = |at: usize| source.tensors[at].shard == source.tensors[adapter.first].shard;
    let replaced = tensors().filter(|tensor| {
        tensor.replaced.is_some() && tensor.units.first().is_some_and(|unit| is_own(unit.parts.weight))
    });
    let mut record = MergedAdapter::new(adapter.digest, adapter.weight);
    record.scales = scales;
    record.replaced = replaced.map(|tensor| tensor.name.clone()).collect();
    record
}
