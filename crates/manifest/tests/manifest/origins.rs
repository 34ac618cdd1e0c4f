//! Records of models beside their documents.

use std::{fs, time::Duration};

use longshore_manifest::{
    Config, Descriptor, Digest, Manifest, ModelName, Silent, Store,
    document::{Facts, Import, TensorTable},
    store::{GcOptions, Made, OriginsError, Place},
};

fn made(key: &str, commit: &str) -> Made {
    Made { key: Digest::of(key.as_bytes()), reference: "hf:acme/tiny@main".into(), commit: commit.into() }
}

fn place(registry: &str, repository: &str, layers: &[&str]) -> Place {
    let layers = layers.iter().map(|layer| Digest::of(layer.as_bytes())).collect();
    Place { registry: registry.into(), repository: repository.into(), layers }
}

/// Stores a model of one blob.
fn import(store: &Store, name: &str, content: &[u8]) -> Digest {
    let ingest = store.ingest().unwrap();
    let config = Config::new(TensorTable::new(Facts::default(), Import::default(), Vec::new()));
    let config = ingest.add(&config.to_bytes()).unwrap();
    let blob = ingest.add(content).unwrap();
    let manifest = Manifest::new(Descriptor::config(config), vec![Descriptor::tensor("a", blob)]);
    ingest.commit(&name.parse::<ModelName>().unwrap(), &manifest).unwrap().digest
}

#[test]
fn the_last_notes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let model = import(&store, "a:1", b"a");
    assert!(store.origins(&model).made.is_empty() && store.places("r.io").is_empty());
    for count in 0..20 {
        store.note_made(&model, made(&format!("{count}"), "c")).unwrap();
    }
    store.note_made(&model, made("10", "d")).unwrap();
    let found = store.origins(&model).made;
    assert_eq!((found.len(), found.last()), (16, Some(&made("10", "d"))));
    store.note_place(&model, place("r.io", "me/a", &["x"])).unwrap();
    store.note_place(&model, place("r.io", "me/b", &["x"])).unwrap();
    store.note_place(&model, place("other.io", "me/a", &["x"])).unwrap();
    store.note_place(&model, place("r.io", "me/a", &["x", "y"])).unwrap();
    assert_eq!(store.places("r.io"), [place("r.io", "me/b", &["x"]), place("r.io", "me/a", &["x", "y"])]);
    assert_eq!(store.origins(&model).made.len(), 16);
}

#[test]
fn records_go_with_their_models() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let models = ["a", "b"].map(|name| import(&store, &format!("{name}:1"), name.as_bytes()));
    for model in &models {
        store.note_made(model, made("k", "c")).unwrap();
    }
    // A copy keeps the record of its model alive.
    store.copy(&"a:1".parse().unwrap(), &"c:1".parse().unwrap()).unwrap();
    let gc = || store.gc(&GcOptions { grace: Duration::ZERO, ..GcOptions::default() }, &Silent).unwrap();
    for (name, left) in [("a:1", [1, 1]), ("b:1", [1, 0]), ("c:1", [0, 0])] {
        store.remove(&name.parse().unwrap()).unwrap();
        gc();
        assert_eq!(models.map(|model| store.origins(&model).made.len()), left, "{name}");
    }
}

#[test]
fn a_record_that_cannot_be_read_is_none_and_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let model = import(&store, "a:1", b"a");
    store.note_made(&model, made("k", "c")).unwrap();
    let path = store.root().join("origins").join(model.file_name());
    for text in ["", "{", "[]", r#"{"version":2,"made":[]}"#, r#"{"version":1,"made":[{"key":"x"}]}"#] {
        fs::write(&path, text).unwrap();
        assert!(store.origins(&model).made.is_empty(), "{text}");
        assert!(store.places("r.io").is_empty(), "{text}");
    }
    store.note_made(&model, made("k", "c")).unwrap();
    assert_eq!(store.origins(&model).made, [made("k", "c")]);
}

#[test]
fn a_store_of_another_program_gets_no_record() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("blobs")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let refused = store.note_made(&Digest::of(b"a"), made("k", "c"));
    assert!(matches!(refused, Err(OriginsError::Foreign(_))), "{refused:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
