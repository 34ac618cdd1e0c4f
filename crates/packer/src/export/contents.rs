//! What an export consists of, before anything is written.

use std::{collections::BTreeMap, fs};

use longshore_manifest::{Descriptor, Store, store::Model};
use longshore_model::MAX_CONFIG_BYTES;

use super::{document::Document, error::ExportError, restore::Output};

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

/// What messages call a layer.
pub(super) fn name_of(layer: &Descriptor) -> String {
    layer.name.clone().unwrap_or_default()
}
