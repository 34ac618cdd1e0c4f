//! Models from Ollama's registry, which the registry of the tests answers as.

use std::sync::Arc;

use longshore_fake_hosts::{FakeRegistry, Fault, Loop};
use longshore_hub::{HubError, Ollama, PullOptions, Pulled, pull_ollama};
use longshore_manifest::{Digest, ModelName, Silent, Store};
use longshore_packer::{ImportOptions, Plan, PlanOptions, Source, st_format::Limits};
use longshore_transfer::Client;

use crate::support::checkpoint;

/// Imports a checkpoint, and puts manifest and blobs of the result into a registry, as Ollama's has them.
fn published(dir: &std::path::Path) -> (Arc<FakeRegistry>, Digest) {
    checkpoint("qwen3-moe", &dir.join("source"));
    let store = Store::open(dir.join("publisher")).unwrap();
    let plan = PlanOptions { scheme: "int4".parse().ok(), ..PlanOptions::default() };
    let plan = Plan::new(Source::open(&dir.join("source"), &Limits::default()).unwrap(), &plan).unwrap();
    let name: ModelName = "tiny:int4".parse().unwrap();
    let digest = plan.import(&store, &name, &ImportOptions::default(), &Silent).unwrap().digest;
    let host = Arc::new(FakeRegistry::default());
    let (_, manifest) = store.manifest(&name).unwrap();
    for blob in manifest.blobs() {
        host.put_blob("library/tiny", &std::fs::read(store.blob_path(&blob.digest)).unwrap());
    }
    host.put_manifest("library/tiny", "int4", &store.manifest_document(&name).unwrap());
    (host, digest)
}

fn ollama(host: &Arc<FakeRegistry>) -> Ollama {
    Ollama::new(Client::new(Arc::new(Loop(host.clone()))), Some("http://localhost:5000".parse().unwrap()))
}

fn try_pull(host: &Arc<FakeRegistry>, store: &Store) -> Result<Pulled, HubError> {
    let (model, name) = ("tiny:int4".parse().unwrap(), "mine:1".parse().unwrap());
    pull_ollama(&ollama(host), &model, store, &name, &PullOptions::default(), &Silent)
}

/// A store with a pull that was given up when five blobs had been asked for. The registry has all of them again.
fn interrupted(host: &Arc<FakeRegistry>, root: &std::path::Path) -> Store {
    let store = Store::open(root).unwrap();
    host.faults.order_after("GET", "/blobs/", Fault::Status(404), usize::MAX, 5);
    try_pull(host, &store).unwrap_err();
    host.faults.clear();
    store
}

#[test]
fn a_model_keeps_its_codes() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _) = published(dir.path());
    let store = Store::open(dir.path().join("store")).unwrap();
    // A blob arrives damaged, and comes again.
    host.faults.order_after("GET", "/blobs/", Fault::Corrupt(3), 1, 2);
    let pulled = try_pull(&host, &store).unwrap();
    assert!(pulled.moved_bytes >= pulled.bytes);
    assert!(store.pulls().unwrap().is_empty());
    let publisher = Store::open(dir.path().join("publisher")).unwrap();
    let tensors = |store: &Store, name: &str| -> Vec<Digest> {
        let (_, manifest) = store.manifest(&name.parse().unwrap()).unwrap();
        manifest.layers.iter().filter(|layer| layer.is_tensor()).map(|layer| layer.digest).collect()
    };
    assert_eq!(tensors(&store, "mine:1"), tensors(&publisher, "tiny:int4"));
}

#[test]
fn nothing_wrong_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _) = published(dir.path());
    for fault in [Fault::Corrupt(3), Fault::Short(1), Fault::Status(404), Fault::Status(401)] {
        let store = Store::open(dir.path().join(format!("store-{fault:?}"))).unwrap();
        host.faults.order_after("GET", "/blobs/", fault.clone(), usize::MAX, 3);
        assert!(try_pull(&host, &store).is_err(), "{fault:?}");
        assert_eq!(store.names().unwrap(), [], "{fault:?}");
        host.faults.clear();
        // What had arrived stays, and serves.
        let pulled = try_pull(&host, &store).unwrap();
        assert!(pulled.moved_bytes < pulled.bytes, "{fault:?}");
    }
}

#[test]
fn only_the_pull_that_gives_the_name_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _) = published(dir.path());
    let store = interrupted(&host, &dir.path().join("store"));
    let model: ModelName = "tiny:int4".parse().unwrap();
    let remote = ollama(&host).remote(&model, &PullOptions::default(), &Silent).unwrap();
    for (name, left) in [("other:1", 1), ("mine:1", 0)] {
        let name: ModelName = name.parse().unwrap();
        assert_eq!(remote.is_unfinished(&store, &name), left == 0, "{name}");
        remote.end(&store, &name).unwrap();
        assert_eq!(store.pulls().unwrap().len(), left, "{name}");
    }
}

/// A pull with other options is another one: it neither goes on with this one nor ends it.
#[test]
fn a_pull_with_other_options_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _) = published(dir.path());
    let store = interrupted(&host, &dir.path().join("store"));
    let (model, name): (ModelName, ModelName) = ("tiny:int4".parse().unwrap(), "mine:1".parse().unwrap());
    let import = ImportOptions { allow_non_finite: true, ..ImportOptions::default() };
    let other = ollama(&host).remote(&model, &PullOptions { import, ..PullOptions::default() }, &Silent).unwrap();
    assert!(!other.is_unfinished(&store, &name));
    other.end(&store, &name).unwrap();
    assert_eq!(store.pulls().unwrap().len(), 1);
    let same = ollama(&host).remote(&model, &PullOptions::default(), &Silent).unwrap();
    assert!(same.is_unfinished(&store, &name));
}

#[test]
fn a_blob_that_was_damaged_between_two_attempts_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _) = published(dir.path());
    let root = dir.path().join("store");
    let store = interrupted(&host, &root);
    let pull = std::fs::read_dir(root.join("pulls")).unwrap().next().unwrap().unwrap().path();
    let mut damaged = 0;
    for blob in std::fs::read_dir(pull.join("scratch/blobs")).unwrap() {
        let path = blob.unwrap().path();
        let zeros = vec![0; std::fs::read(&path).unwrap().len()];
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, zeros).unwrap();
        damaged += 1;
    }
    assert!(damaged > 0);
    try_pull(&host, &store).unwrap();
}
