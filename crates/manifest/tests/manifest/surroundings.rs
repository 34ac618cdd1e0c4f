//! Tests of where a store may lie, who may own it, and how large it may be.

use std::{fs, path::Path};

use longshore_manifest::{
    Descriptor, Digest, Manifest, Silent, Store,
    store::{GcError, GcOptions, IngestError},
};

use crate::util::{Blob, Scratch, add, at_once, chain, commit, name, put, verify};

/// Runs every operation on a store with linked directories.
fn works(store: &Store) {
    commit(store, "m", &[Blob::plain("a", 10, 1)]);
    commit(store, "n", &[Blob::plain("b", 10, 2)]);
    store.copy(&name("m"), &name("o")).unwrap();
    assert_eq!(store.remove(&name("n")).unwrap().blobs.len(), 2);
    put(&store.blob_path(&Digest::of(b"x")), b"x");
    assert_eq!(store.gc(&at_once(false), &Silent).unwrap().blobs, [(Digest::of(b"x"), 1)]);
    assert_eq!(store.names().unwrap(), [name("m"), name("o")]);
    assert!(verify(store).bad.is_empty());
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn links_to_directories_are_followed() {
    for linked in ["", "blobs", "manifests", "tmp"] {
        let scratch = Scratch::new();
        let real = scratch.beside("elsewhere");
        fs::create_dir(&real).unwrap();
        if !linked.is_empty() {
            // The first commit creates the store with its marker.
            commit(&scratch.store, "first", &[Blob::plain("a", 1, 1)]);
            scratch.store.remove(&name("first")).unwrap();
            fs::remove_dir(scratch.store.root().join(linked)).unwrap();
        }
        std::os::unix::fs::symlink(&real, scratch.store.root().join(linked).components().as_path()).unwrap();
        works(&Store::open(scratch.store.root()).unwrap());
        assert!(linked == "tmp" || fs::read_dir(&real).unwrap().count() > 0, "{linked}");
    }
}

/// Nothing is written to a store on two file systems, because the last rename would fail.
#[cfg(target_os = "linux")]
#[test]
fn a_store_on_two_file_systems_is_refused() {
    use std::os::unix::fs::MetadataExt as _;

    let device = |path: &Path| path.metadata().map(|found| found.dev());
    for linked in ["blobs", "manifests"] {
        let scratch = Scratch::new();
        commit(&scratch.store, "first", &[Blob::plain("a", 1, 1)]);
        let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
        if device(other.path()).unwrap() == device(scratch.store.root()).unwrap() {
            return;
        }
        let dir = scratch.store.root().join(linked);
        let far = other.path().join(linked);
        assert!(std::process::Command::new("cp").arg("-r").args([&dir, &far]).status().unwrap().success());
        fs::remove_dir_all(&dir).unwrap();
        std::os::unix::fs::symlink(&far, &dir).unwrap();
        let store = Store::open(scratch.store.root()).unwrap();
        let names_both = |error: &dyn std::error::Error| {
            let text = error.to_string();
            text.contains(&*dir.to_string_lossy()) && text.contains(&*store.root().join("tmp").to_string_lossy())
        };
        let error = store.ingest().unwrap_err();
        assert!(matches!(error, IngestError::Split(_)) && names_both(&error), "{error}");
        assert!(store.copy(&name("first"), &name("second")).is_err());
        for error in [store.gc(&at_once(false), &Silent).unwrap_err(), store.remove(&name("first")).unwrap_err()] {
            assert!(matches!(error, GcError::Split(_)) && names_both(&error), "{error}");
        }
        assert!(verify(&store).bad.is_empty() && scratch.temporaries().is_empty());
        assert_eq!(store.names().unwrap(), [name("first")]);
    }
}

#[test]
fn directories_that_are_missing_are_made_again() {
    for missing in ["tmp", "blobs", "manifests"] {
        let scratch = Scratch::new();
        let store = &scratch.store;
        commit(store, "first", &[Blob::plain("a", 1, 1)]);
        store.remove(&name("first")).unwrap();
        fs::remove_dir(store.root().join(missing)).unwrap();
        store.gc(&at_once(false), &Silent).unwrap();
        assert!(store.list().unwrap().is_empty());
        works(store);
    }
    // A store with models gets a missing `tmp` back too.
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    fs::remove_dir(scratch.store.root().join("tmp")).unwrap();
    assert_eq!(scratch.store.remove(&name("m")).unwrap().blobs.len(), 3);
}

#[test]
fn a_store_that_goes_away_is_an_error() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    let ingest = scratch.store.ingest().unwrap();
    let manifest = add(&ingest, &[Blob::plain("b", 1, 2)]);
    fs::rename(scratch.store.root(), scratch.beside("moved")).unwrap();
    let error = ingest.commit(&name("n"), &manifest).unwrap_err();
    assert!(matches!(&error, IngestError::Fs(_) | IngestError::MissingBlob { .. }), "{error}");
    assert!(!scratch.store.root().exists());
    // The parent of the store is a file.
    put(&scratch.beside("file"), b"");
    assert!(Store::open(scratch.beside("file/store")).is_err());
}

/// Checks a store that this process may only read.
#[cfg(unix)]
fn is_only_read(store: &Store) {
    let root = store.root();
    let is_denied = |error: &longshore_manifest::FsError| {
        assert!(error.path.starts_with(root), "{}", error.path.display());
        error.kind() == std::io::ErrorKind::PermissionDenied
    };
    assert_eq!(store.list().unwrap().len(), 1);
    store.model(&name("m")).unwrap();
    assert!(verify(store).bad.is_empty());
    let error = store.ingest().unwrap_err();
    assert!(matches!(&error, IngestError::Fs(error) if is_denied(error)), "{:?}", chain(&error));
    for error in [store.remove(&name("m")).unwrap_err(), store.gc(&at_once(false), &Silent).unwrap_err()] {
        assert!(matches!(&error, GcError::Fs(error) if is_denied(error)), "{:?}", chain(&error));
    }
    assert!(store.copy(&name("m"), &name("n")).is_err());
    assert_eq!(store.gc(&at_once(true), &Silent).unwrap().blobs, [(Digest::of(b"orphan"), 6)]);
    assert!(store.model(&name("m")).is_ok());
}

#[cfg(unix)]
#[test]
fn a_store_of_another_user_is_only_read() {
    use std::os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    };

    const VARIABLE: &str = "LONGSHORE_TEST_OTHERS_STORE";
    if let Some(path) = std::env::var_os(VARIABLE) {
        return is_only_read(&Store::open(path).unwrap());
    }
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    put(&scratch.store.blob_path(&Digest::of(b"orphan")), b"orphan");
    let allow = |dir: &Path, mode| fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
    let root = scratch.store.root().to_path_buf();
    let mut all = vec![root.clone()];
    while let Some(dir) = all.pop() {
        let inner = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        all.extend(inner.filter(|path| path.is_dir()));
        allow(&dir, 0o555);
    }
    if root.metadata().unwrap().uid() == 0 {
        // This user may do everything, so another user reads the store.
        allow(root.parent().unwrap(), 0o755);
        let program = scratch.beside("tests");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let mut other = std::process::Command::new(program);
        other.args(["--exact", "surroundings::a_store_of_another_user_is_only_read"]).env(VARIABLE, &root);
        let done = other.uid(65_534).gid(65_534).current_dir("/").output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && text.contains("1 passed"), "{text}");
    } else {
        is_only_read(&scratch.store);
    }
    let mut all = vec![root];
    while let Some(dir) = all.pop() {
        allow(&dir, 0o755);
        let inner = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        all.extend(inner.filter(|path| path.is_dir()));
    }
}

#[test]
fn a_manifest_of_fifty_thousand_layers() {
    let scratch = Scratch::new();
    let ingest = scratch.store.ingest().unwrap();
    let added: Vec<_> = (0..100_u8).map(|seed| ingest.add(&[seed; 10]).unwrap()).collect();
    let layer = |at: usize| Descriptor::tensor(format!("model.layers.{at}.weight"), added[at % 100].clone());
    let layers: Vec<Descriptor> = (0..50_000).map(layer).collect();
    let config = Descriptor::config(ingest.add(b"{}").unwrap());
    let done = ingest.commit(&name("m"), &Manifest::new(config, layers)).unwrap();
    assert_eq!(done.new_blobs, 101);
    let listed = scratch.store.list().unwrap();
    assert_eq!(listed[0].summary.as_ref().unwrap().size, 1002);
    // The next import finds the layers of the large model.
    let ingest = scratch.store.ingest().unwrap();
    assert!(ingest.has_like("model.layers.49999.weight", 10));
    drop(ingest);
    assert_eq!(scratch.store.gc(&at_once(false), &Silent).unwrap().blobs, []);
    assert_eq!(scratch.store.copy(&name("m"), &name("n")).unwrap().new_blobs, 0);
    assert_eq!(scratch.store.remove(&name("m")).unwrap().blobs, []);
    assert_eq!(scratch.store.remove(&name("n")).unwrap().blobs.len(), 101);
}

#[test]
fn a_hundred_thousand_blobs() {
    let scratch = Scratch::of_many_files();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    for number in 0..100_000_u32 {
        let digest = Digest::of(&number.to_string().into_bytes());
        fs::File::create_new(scratch.store.blob_path(&digest)).unwrap();
    }
    let young = scratch.store.gc(&GcOptions::default(), &Silent).unwrap();
    assert_eq!((young.young.len(), young.blobs.len()), (100_000, 0));
    let done = scratch.store.gc(&at_once(false), &Silent).unwrap();
    assert_eq!((done.blobs.len(), done.young.len()), (100_000, 0));
    assert_eq!(scratch.blobs().len(), 3);
    scratch.store.model(&name("m")).unwrap();
}
