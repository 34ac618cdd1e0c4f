//! Facts about a model that another program stored: its `config.json` says more than the table that its blobs make.

use std::io::Read as _;

use longshore_manifest::{Store, document::Facts, open_regular, store::Model};
use longshore_model::{MAX_CONFIG_BYTES, ModelConfig};

/// Facts from `config.json`, where it can be read; the components stay those of the table.
pub(super) fn facts(store: &Store, model: &Model, found: &Facts) -> Option<Facts> {
    let (_, layer) = model.manifest.files().find(|(name, _)| name.as_str() == "config.json")?;
    let file = open_regular(&store.blob_path(&layer.digest)).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes).ok().filter(|read| *read as u64 <= MAX_CONFIG_BYTES)?;
    let config = ModelConfig::parse(&bytes).ok()?;
    Some(Facts { components: found.components.clone(), ..config.facts() })
}
