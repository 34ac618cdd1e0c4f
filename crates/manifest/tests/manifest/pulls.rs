//! Pulls: imports that outlive the process that works on them.

use std::time::Duration;

use longshore_manifest::{
    Config, Descriptor, Digest, Manifest, ModelName, Silent, Store,
    document::{Facts, Import, TensorTable},
    store::{GcOptions, PartialError, PullError, PullRecord},
};

const CONTENT: &[u8] = b"the bytes of a blob that arrives in parts";

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

fn key() -> Digest {
    Digest::of(b"a source and its options")
}

fn record() -> PullRecord {
    PullRecord::new("hf:acme/tiny@main", name("tiny:1"), 100)
}

fn config() -> Vec<u8> {
    Config::new(TensorTable::new(Facts::default(), Import::default(), Vec::new())).to_bytes()
}

/// A model of one blob.
fn import(store: &Store, model: &str, content: &[u8]) {
    let ingest = store.ingest().unwrap();
    let config = ingest.add(&config()).unwrap();
    let blob = ingest.add(content).unwrap();
    let manifest = Manifest::new(Descriptor::config(config), vec![Descriptor::tensor("a", blob)]);
    ingest.commit(&name(model), &manifest).unwrap();
}

fn collect(store: &Store) {
    store.gc(&GcOptions { grace: Duration::ZERO, ..GcOptions::default() }, &Silent).unwrap();
}

#[test]
fn a_pull_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let digest = Digest::of(CONTENT);
    {
        let pull = store.pull(&key(), &record()).unwrap();
        let mut partial = pull.partial(digest, CONTENT.len() as u64).unwrap();
        partial.write(&CONTENT[..10]).unwrap();
        // Only one works on it, and the list says so.
        assert!(matches!(store.pull(&key(), &record()), Err(PullError::Running { .. })));
        let listed = store.pulls().unwrap();
        assert!(listed[0].is_running && listed[0].record == record(), "{listed:?}");
        assert!(matches!(store.abandon_pull(&listed[0]), Err(PullError::Running { .. })));
    }
    collect(&store);
    assert!(!store.pulls().unwrap()[0].is_running);
    let pull = store.pull(&key(), &record()).unwrap();
    let mut partial = pull.partial(digest, CONTENT.len() as u64).unwrap();
    assert_eq!(partial.received(), 10);
    partial.write(&CONTENT[10..]).unwrap();
    assert!(partial.write(b"x").is_err());
    let ingest = store.ingest().unwrap();
    let blob = ingest.adopt(partial).unwrap();
    let config = ingest.add(&config()).unwrap();
    let manifest = Manifest::new(Descriptor::config(config), vec![Descriptor::tensor("a", blob)]);
    let committed = ingest.commit_bytes(&name("tiny:1"), &manifest.to_bytes()).unwrap();
    assert_eq!(committed.digest, Digest::of(&manifest.to_bytes()));
    pull.end().unwrap();
    assert!(store.pulls().unwrap().is_empty());
    assert_eq!(std::fs::read(store.blob_path(&digest)).unwrap(), CONTENT);
    #[cfg(unix)]
    {
        let mode = store.blob_path(&digest).metadata().unwrap().permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o444);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_pull_of_a_dead_process_is_taken_over_and_another_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let digest = Digest::of(CONTENT);
    let pull = store.pull(&key(), &record()).unwrap();
    pull.partial(digest, 100).unwrap().write(&CONTENT[..7]).unwrap();
    // As a killed process leaves it: under a name of its own.
    std::mem::forget(pull);
    let parent = store.root().join("pulls");
    let only = || std::fs::read_dir(&parent).unwrap().next().unwrap().unwrap().path();
    let mine = only();
    let file_name = mine.file_name().unwrap().to_str().unwrap().to_owned();
    let (key_part, owner) = file_name.split_once('.').unwrap();
    let (_, rest) = owner.split_once('-').unwrap();
    let named = |process: u32| parent.join(format!("{key_part}.{process}-{rest}"));
    // One that may be on another machine is waited for.
    std::fs::rename(&mine, parent.join(format!("{key_part}.7-18b0-3"))).unwrap();
    assert!(matches!(store.pull(&key(), &record()), Err(PullError::Running { .. })));
    std::fs::rename(only(), named(1 << 30)).unwrap();
    collect(&store);
    let pull = store.pull(&key(), &record()).unwrap();
    assert_eq!(pull.partial(digest, 100).unwrap().received(), 7);
}

#[cfg(target_os = "linux")]
#[test]
fn a_pull_of_a_process_that_cannot_be_seen_is_taken_over_once_its_lock_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let digest = Digest::of(CONTENT);
    let parent = store.root().join("pulls");
    let only = || std::fs::read_dir(&parent).unwrap().next().unwrap().unwrap().path();
    let pull = store.pull(&key(), &record()).unwrap();
    pull.partial(digest, 100).unwrap().write(&CONTENT[..7]).unwrap();
    let mine = only();
    let parts: Vec<&str> = mine.file_name().unwrap().to_str().unwrap().split('-').collect();
    let [key_part, process, started, _, clock, boot, count] = parts[..] else { panic!("{parts:?}") };
    // Another container has other namespaces.
    let theirs = parent.join(format!("{key_part}-{process}-{started}-7-{clock}-{boot}-{count}"));
    std::fs::rename(&mine, &theirs).unwrap();
    assert!(matches!(store.pull(&key(), &record()), Err(PullError::Running { .. })));
    assert!(store.pulls().unwrap()[0].is_running);
    // The lock goes with the process, and the name stays.
    drop(pull);
    assert_eq!(only(), theirs);
    let pull = store.pull(&key(), &record()).unwrap();
    assert_eq!(pull.partial(digest, 100).unwrap().received(), 7);
}

#[cfg(unix)]
#[test]
fn of_two_that_start_together_one_pulls() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..100 {
        let store = Store::open(dir.path().join(format!("store-{round}"))).unwrap();
        std::fs::create_dir_all(store.root().join("pulls")).unwrap();
        let begin = std::sync::Barrier::new(4);
        let pulled = std::thread::scope(|scope| {
            let start = || {
                begin.wait();
                store.pull(&key(), &record())
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(pulled.iter().filter(|pull| pull.is_ok()).count(), 1, "{round}: {pulled:?}");
    }
}

#[test]
fn the_journal_protects_what_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    import(&store, "other:1", b"shared with another model");
    let shared = Digest::of(b"shared with another model");
    let made = {
        let pull = store.pull(&key(), &record()).unwrap();
        let ingest = store.ingest().unwrap();
        let old = ingest.add(b"shared with another model").unwrap();
        assert!(old.reused);
        ingest.keep(&pull, "layer a", &old).unwrap();
        let new = ingest.add(b"made here").unwrap();
        ingest.keep(&pull, "layer b", &new).unwrap();
        ingest.keep(&pull, "layer c", &new).unwrap();
        new
    };
    // The import is gone without a commit; its name is removed, and all that nobody needs with it.
    store.remove(&name("other:1")).unwrap();
    collect(&store);
    import(&store, "third:1", b"something else");
    assert!(store.blob_path(&shared).exists());

    let pull = store.pull(&key(), &record()).unwrap();
    let ingest = store.ingest().unwrap();
    for (layer, digest) in [("layer a", shared), ("layer b", made.digest), ("layer c", made.digest)] {
        assert_eq!(ingest.kept(&pull, layer).unwrap().map(|added| added.digest), Some(digest), "{layer}");
    }
    assert_eq!(ingest.kept(&pull, "layer d").unwrap(), None);
    drop((ingest, pull));

    let (removed, bytes) = store.abandon_pull(&store.pulls().unwrap()[0]).unwrap();
    assert_eq!(removed.blobs, [(shared, 25)]);
    assert!(bytes > 9 && !store.blob_path(&shared).exists());
    assert!(store.pulls().unwrap().is_empty());
    assert!(matches!(store.abandon_pull(&listed(&store)), Err(PullError::NotFound { .. })));
}

/// An entry of a pull that is given up right afterwards.
fn listed(store: &Store) -> longshore_manifest::store::PullEntry {
    drop(store.pull(&key(), &record()).unwrap());
    let entry = store.pulls().unwrap().remove(0);
    store.abandon_pull(&entry).unwrap();
    entry
}

#[test]
fn wrong_bytes_are_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let pull = store.pull(&key(), &record()).unwrap();
    let ingest = store.ingest().unwrap();
    for content in [&CONTENT[..5], b"the bytes of a blob that arrives in marts"] {
        let mut partial = pull.partial(Digest::of(CONTENT), CONTENT.len() as u64).unwrap();
        partial.write(content).unwrap();
        assert!(matches!(ingest.adopt(partial), Err(PartialError::Digest { .. })));
        assert_eq!(pull.partial_len(&Digest::of(CONTENT)), 0);
    }
    assert!(!ingest.reuse(Digest::of(CONTENT), CONTENT.len() as u64).unwrap());
}
