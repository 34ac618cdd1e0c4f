//! The disk space that an import needs.

use std::collections::HashSet;

use super::{error::ImportError, sink::SinkImport};
use crate::plan::planned::Plan;

/// Refuses an import for which the space does not suffice.
///
/// If a model of the store has a layer with the same name and size, it is probably the same blob and needs no space. An
/// import that starts may therefore still run out of space, but no import that fits is refused.
pub(super) fn check(import: &dyn SinkImport, plan: &Plan) -> Result<(), ImportError> {
    let Some((path, available)) = import.room() else { return Ok(()) };
    match shortage(layers(plan), available, |name, size| import.has_like(name, size)) {
        None => Ok(()),
        Some(needed) => Err(ImportError::Space { path, needed, available }),
    }
}

/// Removes leftovers of killed imports that this import does not need, to free their space.
pub(super) fn drop_others(import: &dyn SinkImport, plan: &Plan) {
    let layers: HashSet<(&str, u64)> = layers(plan).collect();
    import.keep_leftovers(&|name, size| layers.contains(&(name, size)));
}

/// Names and sizes in bytes of the plan's layers.
fn layers(plan: &Plan) -> impl Iterator<Item = (&str, u64)> + Clone {
    let blobs = plan.blobs.iter().map(|blob| (blob.name.as_str(), blob.layout.file_len()));
    let files = plan.files.iter().map(|file| (file.name.as_str(), file.size));
    blobs.chain(files)
}

/// The number of bytes that are needed, if it exceeds `available`. `stored` is called only if that can change the
/// result.
fn shortage<'n>(
    layers: impl Iterator<Item = (&'n str, u64)> + Clone,
    available: u64,
    stored: impl Fn(&str, u64) -> bool,
) -> Option<u64> {
    let sum = |sizes: &mut dyn Iterator<Item = u64>| sizes.fold(0, u64::saturating_add);
    if sum(&mut layers.clone().map(|(_, size)| size)) <= available {
        return None;
    }
    let new = layers.filter(|(name, size)| !stored(name, *size));
    let needed = sum(&mut new.map(|(_, size)| size));
    (needed > available).then_some(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_has_costs_nothing() {
        let layers = [("a", 100), ("b", 50), ("c", 7)];
        let shortage = |available, stored: &[(&str, u64)]| {
            shortage(layers.into_iter(), available, |name, size| stored.contains(&(name, size)))
        };
        assert_eq!(shortage(157, &[]), None);
        assert_eq!(shortage(156, &[]), Some(157));
        assert_eq!(shortage(57, &[("a", 100)]), None);
        assert_eq!(shortage(56, &[("a", 100), ("b", 51)]), Some(57));
        assert_eq!(shortage(0, &[("a", 100), ("b", 50), ("c", 7)]), None);
    }

    #[test]
    fn the_store_is_not_asked_where_there_is_room() {
        assert_eq!(shortage([("a", 1)].into_iter(), 1, |_, _| unreachable!("there is room")), None);
    }
}
