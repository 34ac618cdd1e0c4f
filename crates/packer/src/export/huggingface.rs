//! The contents of an export for transformers and diffusers.

use std::collections::BTreeMap;

use longshore_manifest::{Store, document::TensorTable, store::Model};
use longshore_quant::FloatType;

use super::{
    claims,
    contents::Contents,
    error::ExportError,
    restore::{self, Output},
};

/// Returns the tensors under the names of the source, and configurations without statements that are no longer true.
pub(super) fn contents<'w>(
    store: &Store,
    model: &Model,
    table: &'w TensorTable,
    dequantize: Option<FloatType>,
) -> Result<Contents<'w>, ExportError> {
    let directories = restore::outputs(store, table, model, dequantize)?;
    let mut edits = BTreeMap::new();
    for (directory, outputs) in &directories {
        let is_decoded = outputs.iter().any(Output::is_decoded);
        claims::edit(store, model, directory, outputs, is_decoded, &mut edits)?;
    }
    Ok(Contents { directories, edits, left_out: 0 })
}
