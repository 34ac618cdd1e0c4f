//! The contents of an export, determined before anything is written.

use std::{collections::BTreeMap, io::Read as _};

use longshore_manifest::{Descriptor, Store, open_regular, store::Model};
use longshore_model::MAX_CONFIG_BYTES;

use super::{document::Document, error::ExportError, restore::Output};

/// A change to a companion file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    /// The file is written with this text.
    Text(String),
    /// The file is not written.
    LeaveOut,
}

/// The tensors and the changed files of an export.
pub(super) struct Contents<'w> {
    /// The tensors, by the directory that they belong in: the empty string, or one path segment and a slash.
    pub(super) directories: BTreeMap<String, Vec<Output<'w>>>,
    /// The changes, by the path of the file below the export's directory.
    pub(super) edits: BTreeMap<String, Edit>,
    /// Number of stored tensors that the format has no place for.
    pub(super) left_out: usize,
}

/// Parses a configuration among the model's files. `None` if there is no file with this path, or if the file is too
/// long, not UTF-8, or not a JSON object.
pub(super) fn read_config(store: &Store, model: &Model, path: &str) -> Result<Option<Document>, ExportError> {
    let file = model.manifest.files().find(|(name, layer)| name.as_str() == path && layer.size <= MAX_CONFIG_BYTES);
    let Some((_, layer)) = file else { return Ok(None) };
    let blob = store.blob_path(&layer.digest);
    let mut bytes = Vec::new();
    let read = open_regular(&blob).and_then(|file| file.take(MAX_CONFIG_BYTES).read_to_end(&mut bytes));
    read.map_err(|source| ExportError::Read { path: blob, layer: name_of(layer), source })?;
    let text = String::from_utf8(bytes).ok();
    Ok(text.as_deref().and_then(|text| Document::parse(text.trim_start_matches('\u{feff}'))))
}

/// The name of a layer in messages.
pub(super) fn name_of(layer: &Descriptor) -> String {
    layer.name.clone().unwrap_or_default()
}
