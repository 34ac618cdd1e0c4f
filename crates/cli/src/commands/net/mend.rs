//! Damaged blobs, had again from a registry.

use std::path::Path;

use longshore_manifest::{Digest, Progress, Store};
use longshore_registry::{Mended, Reference};

use super::{client, reference::Place, short};
use crate::{advice::Advice, args::target::is_reference};

/// The reference to a registry that the source of a repair is, itself or as a short name; `None` if it is a checkpoint.
pub(in crate::commands) fn registry_of(source: &Path) -> anyhow::Result<Option<Reference>> {
    let Some(text) = source.to_str() else { return Ok(None) };
    if !is_reference(text) && (source.exists() || short::find(text)?.is_none()) {
        return Ok(None);
    }
    match Place::parse(text, None)? {
        Place::Registry(reference) => Ok(Some(reference)),
        place => Err(Advice::failure(format!("{place} has no blobs of stored models: only a registry does (oci:…)"))
            .hint("a directory with the files that were imported repairs too: --repair DIR")
            .hint(format!(
                "or remove the model and pull it again: longshore rm NAME, longshore pull {place} NAME with the options that it was made with"
            ))
            .into()),
    }
}

/// Has damaged blobs again from a registry.
pub(in crate::commands) fn mend(
    reference: &Reference,
    ca_cert: Option<&Path>,
    store: &Store,
    bad: &[Digest],
    progress: &dyn Progress,
) -> anyhow::Result<Mended> {
    let registry = client::registry(reference, ca_cert, false)?;
    Ok(longshore_registry::mend(&registry, store, bad, progress)?)
}
