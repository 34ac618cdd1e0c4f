//! Tests of records of origins that are written while unneeded ones are removed.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use super::scenario::{A, collect, entries, import, name, quick, remove, scratch, stopping};
use crate::{Digest, Store, fs::record::BETWEEN_READS, store::Made};

fn note(store: &Store, key: &str) -> Digest {
    let model = Digest::of(&store.read_manifest_bytes(&name("m")).unwrap());
    let made = Made { key: Digest::of(key.as_bytes()), reference: "hf:a/b@main".into(), commit: "c".into() };
    store.note_made(&model, made).unwrap();
    model
}

/// A model that was removed leaves its record, and is stored and noted again after a collection has read which models there are.
#[test]
fn a_model_that_is_noted_during_a_collection_keeps_its_record() {
    // The same note changes nothing in the record that is there; another one makes a new record.
    for key in ["k", "other"] {
        let dir = scratch();
        let store = quick(dir.path());
        import(&store, "m", &[A]).unwrap();
        let model = note(&store, "k");
        remove(&store, "m").unwrap();
        let (path, again) = (dir.path().to_path_buf(), AtomicBool::new(true));
        let collecting = stopping(dir.path(), move |_, at| {
            if at == Path::new(BETWEEN_READS) && again.swap(false, Ordering::Relaxed) {
                let store = quick(&path);
                import(&store, "m", &[A]).unwrap();
                note(&store, key);
            }
        });
        collecting.drop_origins().unwrap();
        assert!(store.origins(&model).made.iter().any(|made| made.key == Digest::of(key.as_bytes())), "{key}");
        assert_eq!(entries(&store.root().join("origins")).len(), 1);
        remove(&store, "m").unwrap();
        collect(&store).unwrap();
        assert!(entries(&store.root().join("origins")).is_empty());
    }
}
