//! Facts that the store has of every model, whatever its weights are.

use std::collections::BTreeMap;

use longshore_manifest::{Digest, store::Model};

/// The digest beside its algorithm, so that the whole of it fits a line of 80 columns.
pub(super) fn digest(digest: &Digest) -> (&'static str, String) {
    let text = digest.to_string();
    text.strip_prefix("sha256:").map_or_else(|| ("digest", text.clone()), |hex| ("sha256", hex.to_owned()))
}

/// The bytes of a model's blobs, each counted once.
pub(super) fn stored_size(model: &Model) -> u64 {
    model.manifest.blobs().map(|blob| (blob.digest, blob.size)).collect::<BTreeMap<_, _>>().values().sum()
}
