//! Reading a model's configuration.

use std::path::Path;

use longshore_model::{ConfigError, MAX_CONFIG_BYTES, ModelConfig, SourceQuantization, keys::QUANTIZATION_FILE};

use super::{error::SourceError, walk::Entry};
use crate::io::small;

/// Reads a model's `config.json`, and the `ModelOpt` file beside it that may say how the weights are quantized.
pub(super) fn read_config(config: &Entry, entries: &[Entry]) -> Result<ModelConfig, SourceError> {
    let mut parsed = ModelConfig::parse(&config.read(MAX_CONFIG_BYTES)?)
        .map_err(|source| SourceError::Config { path: config.path.clone(), source })?;
    parsed.check().map_err(|source| SourceError::Config {
        path: config.path.clone(),
        source: ConfigError::Contradiction { source: Box::new(source) },
    })?;
    if let (None, Some(sidecar)) = (&parsed.quantization, entries.iter().find(|entry| entry.name == QUANTIZATION_FILE))
    {
        let bytes = sidecar.read(MAX_CONFIG_BYTES)?;
        parsed.quantization = SourceQuantization::parse_sidecar(&bytes)
            .map_err(|source| SourceError::Config { path: sidecar.path.clone(), source })?;
    }
    Ok(parsed)
}

pub(super) fn read_config_bytes(path: &Path) -> Result<Vec<u8>, SourceError> {
    small::read(path, MAX_CONFIG_BYTES).map_err(|error| SourceError::of_small_file(error, path, MAX_CONFIG_BYTES))
}
