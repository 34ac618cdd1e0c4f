//! Corrections to what `config.json` says about quantization, for exports whose values are floats.

use std::collections::BTreeMap;

use longshore_manifest::{Store, store::Model};
use longshore_model::keys::{DTYPE, NESTED, QUANTIZATION, QUANTIZATION_FILE};
use longshore_st_format::Dtype;

use super::{
    contents::{Edit, read_config},
    document::Document,
    error::ExportError,
    restore::Output,
};

/// Edits the configuration of the directory `directory`, whose tensors are all plain, if any of its values were
/// decoded. Removes what it says about quantization and sets the float type of the tensors. `is_decoded` says whether
/// this export decodes.
pub(super) fn edit(
    store: &Store,
    model: &Model,
    directory: &str,
    outputs: &[Output<'_>],
    is_decoded: bool,
    edits: &mut BTreeMap<String, Edit>,
) -> Result<(), ExportError> {
    let from_floats = model.config.longshore.as_ref().is_none_or(|table| table.import.kind == "float");
    if from_floats && !is_decoded {
        return Ok(());
    }
    let sidecar = format!("{directory}{QUANTIZATION_FILE}");
    let has_sidecar = model.manifest.files().any(|(name, _)| name.as_str() == sidecar);
    let path = format!("{directory}config.json");
    if let Some(mut config) = read_config(store, model, &path)?
        && (is_decoded || has_sidecar || claims(&config))
    {
        let dtype = dtype(outputs);
        strip(&mut config);
        retype(&mut config, dtype);
        for name in NESTED {
            if let Some(mut inner) = config.object(name) {
                retype(&mut inner, dtype);
                config.set(name, inner.to_text());
            }
        }
        edits.insert(path, Edit::Text(config.to_text()));
    }
    if has_sidecar {
        edits.insert(sidecar, Edit::LeaveOut);
    }
    Ok(())
}

/// Removes the members about quantization, at the top level and in the description of the language model.
pub(super) fn strip(config: &mut Document) {
    for name in QUANTIZATION {
        config.remove(name);
    }
    for name in NESTED {
        if let Some(mut inner) = config.object(name).filter(claims) {
            strip(&mut inner);
            config.set(name, inner.to_text());
        }
    }
}

fn claims(config: &Document) -> bool {
    QUANTIZATION.iter().any(|name| config.get(name).is_some())
        || NESTED.iter().any(|name| config.object(name).is_some_and(|inner| claims(&inner)))
}

fn retype(config: &mut Document, dtype: Option<&str>) {
    let Some(dtype) = dtype else { return };
    for name in DTYPE {
        if config.has(name) {
            config.set(name, format!("\"{dtype}\""));
        }
    }
}

/// The float type of most elements, under torch's name.
fn dtype(outputs: &[Output<'_>]) -> Option<&'static str> {
    let types = [(Dtype::F32, "float32"), (Dtype::F16, "float16"), (Dtype::BF16, "bfloat16")];
    let elements = |dtype| {
        let of_type = outputs.iter().filter(|output| output.dtype == dtype);
        of_type.map(|output| output.elements).fold(0, u64::saturating_add)
    };
    let most = types.into_iter().map(|(dtype, name)| (elements(dtype), name)).max_by_key(|(count, _)| *count)?;
    (most.0 > 0).then_some(most.1)
}
