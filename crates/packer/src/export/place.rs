//! The place of an export among stores.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use longshore_manifest::{Store, store::MARKER_NAME};

use super::error::ExportError;
use crate::source::stored::is_store;

/// Refuses a directory that is a store or would lie in one: in `store` or in any other.
pub(super) fn outside_stores(store: &Store, dir: &Path) -> Result<(), ExportError> {
    let Ok(dir_path) = std::path::absolute(dir) else { return Ok(()) };
    let place = resolve(&dir_path);
    let root = fs::canonicalize(store.root()).ok();
    let is_one =
        |above: &&Path| root.as_deref() == Some(*above) || above.join(MARKER_NAME).is_file() || is_store(above);
    match place.ancestors().find(is_one) {
        None => Ok(()),
        Some(found) => Err(ExportError::InStore { dir: dir.to_owned(), store: found.to_owned() }),
    }
}

/// The absolute path without links and without `..`. What does not exist yet is taken by its name.
fn resolve(path: &Path) -> PathBuf {
    let mut place = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(place.pop()),
            other => {
                place.push(other);
                place = fs::canonicalize(&place).unwrap_or(place);
            }
        }
    }
    place
}
