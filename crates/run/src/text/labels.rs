//! Names of the classes of a model that sorts texts.

use longshore_manifest::weights::Source;
use serde_json::Value;

use super::documents::{DocumentError, object};

/// Reads the names of a model's classes, in the order of its logits: the `id2label` of its `config.json`, as far as its numbers go
/// on from 0 without a gap. Empty if the file has none.
///
/// # Errors
///
/// [`DocumentError`] for a file that cannot be used.
pub fn labels(source: &Source) -> Result<Vec<String>, DocumentError> {
    let config = object(source, "config.json")?;
    let stated = config.as_ref().and_then(|config| config.get("id2label")).and_then(Value::as_object);
    let Some(stated) = stated else { return Ok(Vec::new()) };
    Ok((0..stated.len()).map_while(|at| Some(stated.get(&at.to_string())?.as_str()?.to_owned())).collect())
}
