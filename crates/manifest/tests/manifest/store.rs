use std::fs;

use longshore_manifest::{Store, store::StoreError};

use crate::util::{Blob, Scratch, chain, commit, name, put, snapshot};

const MARKER: &str = "{\"longshore\":\"store\",\"version\":1}\n";

#[test]
fn a_store_is_made_by_the_first_import() {
    let scratch = Scratch::new();
    let root = scratch.beside("deep/down/store");
    let store = Store::open(&root).unwrap();
    assert!(!store.is_foreign() && !root.exists());
    commit(&store, "m", &[Blob::plain("a", 1, 1)]);
    assert_eq!(fs::read_to_string(root.join("longshore.json")).unwrap(), MARKER);
    let mut entries: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    entries.sort_unstable();
    assert_eq!(entries, ["blobs", "longshore.json", "manifests", "tmp"]);
    assert!(!Store::open(&root).unwrap().is_foreign());
    assert_eq!(store.root(), root);
}

#[test]
fn paths_follow_the_layout() {
    let store = Store::open("s").unwrap();
    let digest = longshore_manifest::Digest::of(b"");
    assert_eq!(store.blob_path(&digest), std::path::Path::new("s/blobs").join(digest.file_name()));
    let expected = "s/manifests/registry.ollama.ai/library/m/latest";
    assert_eq!(store.manifest_path(&name("m")), std::path::Path::new(expected));
}

#[test]
fn a_relative_path_that_names_no_parent_works() {
    // The parent of the store is the empty path here, which means the current directory.
    let store = Store::open("").unwrap();
    assert!(store.names().unwrap().is_empty());
}

#[test]
fn a_crash_while_it_is_made_leaves_a_store_of_ours() {
    // The marker comes before `blobs` and `manifests`, so these are all the states of an unfinished store.
    for state in [&[][..], &["tmp/1-2a-0"], &["tmp/1-2a-0", "longshore.json"]] {
        let scratch = Scratch::new();
        fs::create_dir(scratch.store.root()).unwrap();
        for file in state {
            put(&scratch.store.root().join(file), MARKER.as_bytes());
        }
        let store = Store::open(scratch.store.root()).unwrap();
        assert!(!store.is_foreign());
        commit(&store, "m", &[Blob::plain("a", 1, 1)]);
        store.model(&name("m")).unwrap();
    }
}

#[test]
fn a_store_that_cannot_be_made_is_not_taken_for_a_foreign_one() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.store.root()).unwrap();
    let in_the_way = scratch.store.root().join("tmp");
    fs::write(&in_the_way, b"").unwrap();
    let error = scratch.store.ingest().map(drop).unwrap_err();
    assert_eq!(chain(&error)[0], format!("cannot create the directory {}", in_the_way.display()));
    assert!(!Store::open(scratch.store.root()).unwrap().is_foreign());
    fs::remove_file(&in_the_way).unwrap();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
}

#[test]
fn a_path_that_is_a_file_is_refused() {
    let scratch = Scratch::new();
    let file = scratch.beside("file");
    fs::write(&file, b"").unwrap();
    let error = Store::open(&file).unwrap_err();
    assert!(matches!(error, StoreError::NotADirectory { .. }));
    assert_eq!(error.to_string(), format!("{} is not a directory", file.display()));
    // A path below a file does not exist either.
    let error = Store::open(file.join("store")).unwrap_err();
    assert!(matches!(error, StoreError::Fs(_)));
    assert_eq!(chain(&error).len(), 2);
}

#[test]
fn a_marker_of_a_later_version_is_refused() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    let marker = scratch.store.root().join("longshore.json");
    let long = "x".repeat(10_000);
    for other in ["{\"longshore\":\"store\",\"version\":2}\n", "", "null", &long] {
        fs::write(&marker, other).unwrap();
        let before = snapshot(scratch.store.root());
        let error = Store::open(scratch.store.root()).unwrap_err();
        let StoreError::Marker { path, found } = &error else { panic!("{error}") };
        assert_eq!(path, scratch.store.root());
        assert!(other.starts_with(found.as_str()) && found.len() <= 80);
        assert!(error.to_string().contains("its longshore.json holds"), "{error}");
        assert_eq!(snapshot(scratch.store.root()), before);
    }
}

#[cfg(unix)]
#[test]
fn a_store_may_be_a_symbolic_link() {
    let scratch = Scratch::new();
    let (real, link) = (scratch.beside("real"), scratch.beside("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let store = Store::open(&link).unwrap();
    commit(&store, "m", &[Blob::plain("a", 1, 1)]);
    Store::open(&real).unwrap().model(&name("m")).unwrap();
}
