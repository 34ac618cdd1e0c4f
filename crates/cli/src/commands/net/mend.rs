//! Damaged blobs, had again from a registry.

use longshore_manifest::{Digest, Progress, Store};
use longshore_registry::Mended;

/// Has damaged blobs again from a registry.
pub(in crate::commands) fn mend(
    reference: &str,
    store: &Store,
    bad: &[Digest],
    progress: &dyn Progress,
) -> anyhow::Result<Mended> {
    let registry = super::client::registry(&reference.parse()?, None, false)?;
    Ok(longshore_registry::mend(&registry, store, bad, progress)?)
}
