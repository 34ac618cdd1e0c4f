//! Tests of the blobs that an import deletes.

use super::{
    super::GcOptions,
    scenario::{A, B, C, Files, copy, entries, import, left_behind, name, orphan, quick, scratch, try_import},
};
use crate::{Digest, Silent, Store};

/// Whether the store has exactly the blobs of these files and one config document.
fn has_only(store: &Store, files: Files<'_>) -> bool {
    let blobs = entries(&store.blobs());
    blobs.len() == files.len() + 1 && files.iter().all(|(_, content)| blobs.contains(&Digest::of(content).file_name()))
}

#[test]
fn a_new_version_frees_what_only_the_old_one_had() {
    let dir = scratch();
    let store = quick(dir.path());
    import(&store, "m", &[A, B]).unwrap();
    let done = try_import(&store, "m", &[B, C]).unwrap();
    assert_eq!((done.freed_blobs, done.freed_bytes), (1, A.1.len() as u64));
    assert!(has_only(&store, &[B, C]));
    // Blobs of another name stay.
    import(&store, "n", &[A, B]).unwrap();
    let done = store.copy(&name("n"), &name("m")).unwrap();
    assert_eq!((done.freed_blobs, done.freed_bytes, done.left.is_none()), (1, C.1.len() as u64, true));
    assert!(has_only(&store, &[A, B]));
    assert_eq!(try_import(&store, "m", &[A]).unwrap().freed_blobs, 0);
    copy(&store, "m", "n").unwrap();
    assert!(has_only(&store, &[A]));
    assert!(entries(&store.temporary()).is_empty());
}

#[test]
fn a_version_that_cannot_be_read_frees_nothing_and_another_is_no_error() {
    let dir = scratch();
    let store = quick(dir.path());
    import(&store, "m", &[A]).unwrap();
    std::fs::write(store.manifest_path(&name("m")), "{").unwrap();
    let done = try_import(&store, "m", &[B]).unwrap();
    assert_eq!((done.freed_blobs, done.left.is_some()), (0, true));
    assert!(has_only(&store, &[A, B]));
    // The blobs of the other name are not known, so all stay.
    import(&store, "n", &[A]).unwrap();
    std::fs::write(store.manifest_path(&name("n")), "{").unwrap();
    let done = try_import(&store, "m", &[C]).unwrap();
    assert_eq!(done.freed_blobs, 0);
    assert!(done.left.is_some());
    assert!(has_only(&store, &[A, B, C]));
}

/// Only Linux can tell whether a file system may be shared.
#[cfg(target_os = "linux")]
#[test]
fn what_a_killed_import_had_brought_in_is_freed() {
    let dir = scratch();
    let store = quick(dir.path());
    let killed = || {
        left_behind(&store, "one", &[B, C]);
        orphan(&store, B.1);
    };
    import(&store, "m", &[A]).unwrap();
    killed();
    let done = try_import(&store, "n", &[A]).unwrap();
    assert_eq!((done.freed_blobs, done.freed_bytes), (1, B.1.len() as u64));
    // An import that needs the blob keeps it.
    killed();
    assert_eq!(try_import(&store, "n", &[A, B]).unwrap().freed_blobs, 0);
    store.remove(&name("n")).unwrap();
    // An import that does not complete frees the blob too.
    killed();
    drop(store.ingest().unwrap());
    // A dead `gc` in the same directory had moved this blob.
    let moved = Digest::of(b"moved");
    assert!(!store.blob_path(&Digest::of(B.1)).exists() && store.blob_path(&moved).exists());
    // `gc` frees the blob too, however young it is.
    killed();
    let options = GcOptions::default();
    let expected = store.gc(&GcOptions { dry_run: true, ..options.clone() }, &Silent).unwrap();
    let found = store.gc(&options, &Silent).unwrap();
    assert!(found.blobs.contains(&(Digest::of(B.1), B.1.len() as u64)));
    assert_eq!((found.blobs, found.temporary_bytes), (expected.blobs, expected.temporary_bytes));
    assert!(!store.blob_path(&Digest::of(B.1)).exists());
}

#[test]
fn a_moved_blob_is_found_where_the_directory_of_a_dead_collection_is_being_taken_over() {
    let dir = scratch();
    let store = quick(dir.path());
    import(&store, "m", &[A, B]).unwrap();
    for (depth, file) in [("own/dead", A), ("own/dead/dead", B)] {
        let below = store.temporary().join(depth);
        std::fs::create_dir_all(&below).unwrap();
        let digest = Digest::of(file.1);
        std::fs::rename(store.blob_path(&digest), below.join(digest.file_name())).unwrap();
        copy(&store, "m", depth).unwrap();
        assert!(store.blob_path(&digest).exists());
    }
}

#[test]
fn leftovers_of_other_layers_are_removed_when_asked() {
    let dir = scratch();
    let store = quick(dir.path());
    import(&store, "m", &[A]).unwrap();
    left_behind(&store, "one", &[B, C]);
    let ingest = store.ingest().unwrap();
    let (b, c) = (B.1.len() as u64, C.1.len() as u64);
    assert!(ingest.has_like("b", b) && ingest.has_like("c", c));
    let files = || entries(&ingest.dir().join("one"));
    let before = files().len();
    ingest.keep_leftovers(|name, size| (name, size) == ("c", c));
    assert!(!ingest.has_like("b", b) && ingest.has_like("c", c));
    assert_eq!(files().len(), before - 1);
}
