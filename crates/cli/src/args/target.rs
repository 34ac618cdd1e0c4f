//! A model as an argument names it: in the store, in a path, or elsewhere.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use longshore_manifest::{ModelName, NameError};

/// Model to load.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// In the store.
    Name(ModelName),
    /// Anywhere else.
    Path(PathBuf),
}

pub(super) fn parse_target(text: OsString) -> Result<Target, NameError> {
    let path = Path::new(&text);
    let bytes = text.as_encoded_bytes();
    let separated = |dot: &[u8]| bytes.strip_prefix(dot).is_some_and(|rest| matches!(rest, [] | [b'/', ..]));
    let is_weights = || path.extension().is_some_and(|end| end == "safetensors" || end == "gguf");
    let is_windows = || cfg!(windows) && bytes.contains(&b'\\');
    if path.has_root() || separated(b".") || separated(b"..") || is_weights() || is_windows() {
        return Ok(Target::Path(text.into()));
    }
    text.to_string_lossy().parse().map(Target::Name)
}

/// Model to run: one that is here, or one that is fetched first.
#[cfg(feature = "run")]
#[derive(Debug, Clone)]
pub(crate) struct Runnable {
    /// The text as it was written.
    pub(crate) text: String,
    /// Where it is here; `None` for a reference that can be no name.
    pub(crate) target: Option<Target>,
}

/// Whether a text names a model of a hub or of a registry.
#[cfg(any(feature = "run", feature = "net"))]
pub(crate) fn is_reference(text: &str) -> bool {
    ["hf:", "oci:", "ollama:"].iter().any(|kind| text.starts_with(kind))
}

#[cfg(feature = "run")]
pub(super) fn parse_runnable(text: OsString) -> Result<Runnable, NameError> {
    let shown = text.to_string_lossy().into_owned();
    if is_reference(&shown) {
        // A stored model may be called so all the same.
        let target = shown.parse().ok().map(Target::Name);
        return Ok(Runnable { text: shown, target });
    }
    let target = parse_target(text)?;
    Ok(Runnable { text: shown, target: Some(target) })
}
