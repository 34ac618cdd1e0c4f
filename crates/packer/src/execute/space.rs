//! Whether the store's disk has room for what an import writes.

use std::collections::HashSet;

use longshore_manifest::Store;

use super::ImportError;
use crate::plan::Plan;

/// Refuses to start what cannot end.
///
/// A layer that a model of the store has under the same name and with the same size is likely the same blob, which costs
/// nothing. So an import that starts may still run out of room, but none that fits is refused.
pub(super) fn check(store: &Store, plan: &Plan) -> Result<(), ImportError> {
    let Some(available) = store.available_bytes() else { return Ok(()) };
    let blobs = plan.blobs.iter().map(|blob| (blob.name.as_str(), blob.layout.file_len()));
    let files = plan.files.iter().map(|file| (file.name.as_str(), file.size));
    match shortage(blobs.chain(files), available, || stored_layers(store)) {
        None => Ok(()),
        Some(needed) => Err(ImportError::Space { path: store.root().to_path_buf(), needed, available }),
    }
}

/// The bytes that are needed, if these are more than `available`. Asks for the `stored` layers only where that matters.
fn shortage<'n>(
    layers: impl Iterator<Item = (&'n str, u64)> + Clone,
    available: u64,
    stored: impl FnOnce() -> HashSet<(String, u64)>,
) -> Option<u64> {
    let sum = |sizes: &mut dyn Iterator<Item = u64>| sizes.fold(0, u64::saturating_add);
    if sum(&mut layers.clone().map(|(_, size)| size)) <= available {
        return None;
    }
    let stored = stored();
    let new = layers.filter(|(name, size)| !stored.contains(&((*name).to_owned(), *size)));
    let needed = sum(&mut new.map(|(_, size)| size));
    (needed > available).then_some(needed)
}

/// The layers of every readable model whose blobs are there, by name and size in bytes.
fn stored_layers(store: &Store) -> HashSet<(String, u64)> {
    let mut layers = HashSet::new();
    // This is an estimate: a model that cannot be read is reported by those who need it.
    for model in store.names().unwrap_or_default().iter().filter_map(|name| store.model(name).ok()) {
        for layer in model.manifest.layers {
            let blob = store.blob_path(&layer.digest).metadata();
            if let Some(name) = layer.name.filter(|_| blob.is_ok_and(|found| found.len() == layer.size)) {
                layers.insert((name, layer.size));
            }
        }
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_has_costs_nothing() {
        let layers = [("a", 100), ("b", 50), ("c", 7)];
        let shortage = |available, stored: &[(&str, u64)]| {
            let stored = stored.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect();
            shortage(layers.into_iter(), available, || stored)
        };
        assert_eq!(shortage(157, &[]), None);
        assert_eq!(shortage(156, &[]), Some(157));
        assert_eq!(shortage(57, &[("a", 100)]), None);
        assert_eq!(shortage(56, &[("a", 100), ("b", 51)]), Some(57));
        assert_eq!(shortage(0, &[("a", 100), ("b", 50), ("c", 7)]), None);
    }

    #[test]
    fn the_store_is_not_asked_where_there_is_room() {
        assert_eq!(shortage([("a", 1)].into_iter(), 1, || unreachable!("there is room")), None);
    }
}
