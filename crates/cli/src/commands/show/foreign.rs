//! Facts about a model that another program stored: its `config.json` says more than the table that its blobs make.

use longshore_manifest::{Store, document::Facts, store::Model};
use longshore_model::{MAX_CONFIG_BYTES, ModelConfig};

/// Facts from `config.json`, where it can be read; the components stay those of the table.
pub(super) fn facts(store: &Store, model: &Model, found: &Facts) -> Option<Facts> {
    let (_, layer) = model.manifest.files().find(|(name, _)| name.as_str() == "config.json")?;
    let path = Some(store.blob_path(&layer.digest))
        .filter(|path| path.metadata().is_ok_and(|found| found.is_file() && found.len() <= MAX_CONFIG_BYTES))?;
    let config = ModelConfig::parse(&std::fs::read(path).ok()?).ok()?;
    Some(Facts { components: found.components.clone(), ..config.facts() })
}
