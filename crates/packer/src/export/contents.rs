//! What an export consists of, before anything is written.

use std::{collections::BTreeMap, fs};

use longshore_manifest::{Store, document::Role, store::Model, weights::Weights};
use longshore_quant::FloatType;

use super::{
    ExportError, ExportFormat, ExportOptions, claims, document::Document, mlx, name_of, restore, restore::Output,
};
use crate::config::MAX_CONFIG_BYTES;

/// What becomes of a companion file that does not stay as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    /// It is written with this text.
    Text(String),
    /// It is not written.
    LeaveOut,
}

/// The tensors and the edited files of an export.
pub(super) struct Contents<'w> {
    /// By the directory that they belong in: nothing, or one segment and a slash.
    pub(super) directories: BTreeMap<String, Vec<Output<'w>>>,
    /// By the path below the export's directory.
    pub(super) edits: BTreeMap<String, Edit>,
    /// Stored tensors that the format has no place for.
    pub(super) left_out: usize,
}

/// Decides everything about an export.
pub(super) fn plan<'w>(
    store: &Store,
    model: &Model,
    weights: &'w Weights,
    options: &ExportOptions,
) -> Result<Contents<'w>, ExportError> {
    match options.format {
        ExportFormat::Hf => huggingface(store, model, weights, options.dequantize),
        ExportFormat::Mlx => mlx::contents(store, model, weights),
    }
}

fn huggingface<'w>(
    store: &Store,
    model: &Model,
    weights: &'w Weights,
    dequantize: Option<FloatType>,
) -> Result<Contents<'w>, ExportError> {
    let directories = restore::outputs(weights, model, dequantize)?;
    let mut edits = BTreeMap::new();
    for (directory, outputs) in &directories {
        let is_decoded = outputs.iter().any(Output::is_decoded);
        claims::edit(store, model, directory, outputs, is_decoded, &mut edits)?;
    }
    Ok(Contents { directories, edits, left_out: 0 })
}

/// A configuration among the model's files. `None` if there is none of this path, or one that no reader of configurations
/// takes: too long, not UTF-8, or not an object.
pub(super) fn read_config(store: &Store, model: &Model, path: &str) -> Result<Option<Document>, ExportError> {
    let file = model.manifest.files().find(|(name, layer)| name.as_str() == path && layer.size <= MAX_CONFIG_BYTES);
    let Some((_, layer)) = file else { return Ok(None) };
    let blob = store.blob_path(&layer.digest);
    let bytes = fs::read(&blob).map_err(|source| ExportError::Read { path: blob, layer: name_of(layer), source })?;
    let text = String::from_utf8(bytes).ok();
    Ok(text.as_deref().and_then(|text| Document::parse(text.trim_start_matches('\u{feff}'))))
}

/// What messages call a part of a tensor.
pub(super) fn part_name(role: Role) -> &'static str {
    match role {
        Role::Weight => "weight",
        Role::Scale => "scale",
        Role::Bias => "bias",
        _ => "companion",
    }
}
