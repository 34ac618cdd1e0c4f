//! Reading a model's configuration.

use std::{fmt::Display, path::Path};

use longshore_model::{
    ConfigError, MAX_CONFIG_BYTES, ModelConfig, QuantizationMethod, SourceQuantization, keys::QUANTIZATION_FILE,
};

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

/// Returns a warning for each number or name about quantization in which the `ModelOpt` file beside a `config.json`
/// differs from the description in `config.json`, which is the one that counts.
pub(super) fn disagreements(config: &ModelConfig, entries: &[Entry]) -> Vec<String> {
    let sidecar = || {
        let entry = entries.iter().find(|entry| entry.name == QUANTIZATION_FILE)?;
        SourceQuantization::parse_sidecar(&entry.read(MAX_CONFIG_BYTES).ok()?).ok()?
    };
    let Some((ours, theirs)) = config.quantization.as_ref().zip(sidecar()) else { return Vec::new() };
    let mut found = Vec::new();
    let mut differ = |what: &str, ours: &dyn Display, theirs: &dyn Display| {
        found.push(format!("config.json says {what} {ours}, which is used, but {QUANTIZATION_FILE} says {theirs}"));
    };
    if let (Some(ours), Some(theirs)) = (algorithm(ours), algorithm(&theirs))
        && !theirs.split(['_', '-']).any(|word| word == ours)
        && ours != theirs
    {
        differ("algorithm", &format_args!("{ours:?}"), &format_args!("{theirs:?}"));
    }
    if let (Some(ours), Some(theirs)) = (ours.weights.group_size, theirs.weights.group_size)
        && ours != theirs
    {
        differ("group size", &ours, &theirs);
    }
    found
}

/// The algorithm of a description, in lower case, as far as `ModelOpt` has a name for it.
fn algorithm(quantization: &SourceQuantization) -> Option<&str> {
    let format = quantization.format.as_deref();
    match (&quantization.method, format) {
        (QuantizationMethod::ModelOpt, _) => format,
        (QuantizationMethod::Fp8, _) | (QuantizationMethod::CompressedTensors, Some("float-quantized")) => Some("fp8"),
        (QuantizationMethod::CompressedTensors, Some("nvfp4-pack-quantized")) => Some("nvfp4"),
        (QuantizationMethod::Mxfp4, _) => Some("mxfp4"),
        (QuantizationMethod::Awq, _) => Some("awq"),
        (QuantizationMethod::Gptq, _) => Some("gptq"),
        (QuantizationMethod::Mlx, _) => Some("mlx"),
        _ => None,
    }
}

pub(super) fn read_config_bytes(path: &Path) -> Result<Vec<u8>, SourceError> {
    small::read(path, MAX_CONFIG_BYTES).map_err(|error| SourceError::of_small_file(error, path, MAX_CONFIG_BYTES))
}
