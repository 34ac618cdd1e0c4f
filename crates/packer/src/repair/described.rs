//! Comparison of a model's documents with a plan, blob by blob.

use std::collections::HashMap;

use longshore_manifest::{
    Digest, Manifest,
    document::{TensorEntry, TensorTable},
};

use super::outcome::RepairProblem;
use crate::{
    execute::rebuild::{Rebuild, entries},
    plan::planned::{Plan, PlannedBlob},
};

/// Description of a blob in a model's documents.
#[derive(Default)]
pub(super) struct Described<'m> {
    /// Names of the layers with this blob. There are several if parts of the model share the blob.
    pub(super) names: Vec<&'m str>,
    is_file: bool,
    /// Tables of the tensors in the blob. There are several if components share the blob.
    tensors: Vec<&'m [TensorEntry]>,
}

/// Collects the description of every blob except the config.
pub(super) fn describe<'m>(manifest: &'m Manifest, table: &'m TensorTable) -> HashMap<Digest, Described<'m>> {
    let mut described: HashMap<Digest, Described<'m>> = HashMap::new();
    for layer in &manifest.layers {
        let blob = described.entry(layer.digest).or_default();
        blob.names.extend(layer.name.as_deref());
        blob.is_file |= layer.is_file();
    }
    for entry in &table.blobs {
        described.entry(entry.digest).or_default().tensors.push(&entry.tensors);
    }
    described
}

/// The planned blobs by the names of their layers.
pub(super) fn by_name(plan: &Plan) -> HashMap<&str, &PlannedBlob> {
    plan.blobs.iter().map(|blob| (blob.name.as_str(), blob)).collect()
}

/// Adds the planned blob or file for `digest` to `rebuild`, if it agrees with the description in the documents.
pub(super) fn add(
    rebuild: &mut Rebuild,
    digest: Digest,
    described: &HashMap<Digest, Described<'_>>,
    planned: &HashMap<&str, &PlannedBlob>,
    plan: &Plan,
) -> bool {
    let Some(blob) = described.get(&digest) else { return false };
    for name in &blob.names {
        if let Some(file) = plan.files.iter().find(|file| blob.is_file && file.name.as_str() == *name) {
            rebuild.file(file, digest);
            return true;
        }
        let Some(found) = planned.get(name) else { continue };
        let entries = entries(found);
        if blob.tensors.iter().any(|tensors| first_difference(&entries, tensors).is_none()) {
            rebuild.blob(found, digest);
            return true;
        }
    }
    false
}

/// The first pair of tensors that differ. Recorded losses of quantization are not compared.
fn first_difference<'t>(
    found: &'t [TensorEntry],
    expected: &'t [TensorEntry],
) -> Option<(Option<&'t TensorEntry>, Option<&'t TensorEntry>)> {
    let is_same = |found: &TensorEntry, expected: &TensorEntry| {
        let TensorEntry {
            name,
            dtype,
            shape,
            quantization,
            arrangement,
            change,
            ulps,
            offset,
            sources,
            parts,
            loss: _,
        } = expected;
        (name, dtype, shape, quantization) == (&found.name, &found.dtype, &found.shape, &found.quantization)
            && (arrangement, sources, parts) == (&found.arrangement, &found.sources, &found.parts)
            && (change, ulps, offset) == (&found.change, &found.ulps, &found.offset)
    };
    let differ = |at: &usize| match (found.get(*at), expected.get(*at)) {
        (Some(found), Some(expected)) => !is_same(found, expected),
        _ => true,
    };
    let at = (0..found.len().max(expected.len())).find(differ)?;
    Some((found.get(at), expected.get(at)))
}

/// The reason why the plan has no blob that agrees with the documents.
pub(super) fn difference(
    digest: Digest,
    described: &HashMap<Digest, Described<'_>>,
    planned: &HashMap<&str, &PlannedBlob>,
) -> RepairProblem {
    let Some(blob) = described.get(&digest) else { return RepairProblem::Documents };
    let name = blob.names.first().copied().unwrap_or_default();
    let Some(found) = blob.names.iter().find_map(|name| planned.get(name)) else {
        return RepairProblem::Absent { name: name.to_owned() };
    };
    let found = entries(found);
    let expected = blob.tensors.first().copied().unwrap_or_default();
    match first_difference(&found, expected) {
        Some((found, expected)) => RepairProblem::Differs {
            tensor: found.or(expected).map_or_else(String::new, |tensor| tensor.name.clone()),
            found: found.map_or_else(|| "nothing".into(), in_words),
            expected: expected.map_or_else(|| "nothing".into(), in_words),
        },
        None => RepairProblem::Documents,
    }
}

fn in_words(tensor: &TensorEntry) -> String {
    let code = tensor.quantization.as_ref().map(|code| format!(" as {code}")).unwrap_or_default();
    let sources = match tensor.sources.len() {
        0 => String::new(),
        1 => format!(" from {:?}", tensor.sources[0]),
        count => format!(" from {count} tensors"),
    };
    format!("{} {}{code}{sources}", tensor.dtype, tensor.shape)
}
