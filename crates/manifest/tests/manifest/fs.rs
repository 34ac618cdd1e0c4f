//! A store entry that is not a regular file is an error, and no operation blocks on it.
#![cfg(unix)]

use std::{
    fs, io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::Command,
};

use longshore_manifest::{
    Digest, FsError, Silent, Store, Weights,
    store::{GcError, ModelError, Problem, StoreError},
    weights::{OpenOptions, WeightsError},
};

use crate::util::{Blob, Scratch, at_once, commit, name, verify};

/// Functions that create something other than a regular file.
const OTHERS: [fn(&Path); 3] = [pipe, socket, device];

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn socket(path: &Path) {
    // The socket is created in a directory with a short path, because paths of sockets are limited.
    let dir = tempfile::TempDir::new_in(path.ancestors().nth(3).unwrap()).unwrap();
    let short = dir.path().join("s");
    drop(UnixListener::bind(&short).unwrap());
    fs::rename(short, path).unwrap();
}

fn device(path: &Path) {
    std::os::unix::fs::symlink("/dev/zero", path).unwrap();
}

/// Makes a store with one model of one blob, and replaces one of its files.
fn with(file: impl Fn(&Store) -> PathBuf, other: fn(&Path)) -> (Scratch, Blob, PathBuf) {
    let scratch = Scratch::new();
    let blob = Blob::plain("w", 4, 1);
    commit(&scratch.store, "m", std::slice::from_ref(&blob));
    let path = file(&scratch.store);
    fs::remove_file(&path).unwrap();
    other(&path);
    (scratch, blob, path)
}

fn assert_refused(error: &FsError, path: &Path) {
    assert_eq!((error.kind(), error.path.as_path()), (io::ErrorKind::InvalidData, path));
    assert_eq!(error.to_string(), format!("cannot open {}", path.display()));
    assert_eq!(error.source.to_string(), "it is not a regular file");
}

#[test]
fn a_manifest_is_a_regular_file() {
    for other in OTHERS {
        let (scratch, _, path) = with(|store| store.manifest_path(&name("m")), other);
        let store = &scratch.store;
        let ModelError::Fs(error) = store.model(&name("m")).unwrap_err() else { panic!("another error") };
        assert_refused(&error, &path);
        assert!(matches!(store.list().unwrap()[0].summary, Err(ModelError::Fs(_))));
        assert!(matches!(store.gc(&at_once(false), &Silent), Err(GcError::Unreadable { .. })));
        let bad = verify(store).bad;
        assert!(matches!(&bad[..], [bad] if matches!(bad.problem, Problem::Model(_))), "{bad:?}");
        store.remove(&name("m")).unwrap();
        assert!(store.names().unwrap().is_empty());
    }
}

#[test]
fn a_config_is_a_regular_file() {
    for other in OTHERS {
        let config = |store: &Store| store.blob_path(&store.model(&name("m")).unwrap().manifest.config.digest);
        let (scratch, _, path) = with(config, other);
        let ModelError::Fs(error) = scratch.store.model(&name("m")).unwrap_err() else { panic!("another error") };
        assert_refused(&error, &path);
        assert!(matches!(scratch.store.list().unwrap()[0].summary, Err(ModelError::Fs(_))));
        let bad = verify(&scratch.store).bad;
        assert!(matches!(&bad[..], [bad] if matches!(bad.problem, Problem::Read(_))), "{bad:?}");
        assert_eq!(scratch.store.gc(&at_once(false), &Silent).unwrap().blobs, []);
    }
}

#[test]
fn a_blob_is_a_regular_file() {
    for other in OTHERS {
        let digest = Digest::of(&Blob::plain("w", 4, 1).bytes);
        let (scratch, blob, path) = with(|store| store.blob_path(&digest), other);
        let store = &scratch.store;
        let bad = verify(store).bad;
        let [bad] = &bad[..] else { panic!("{bad:?}") };
        let Problem::Read(error) = &bad.problem else { panic!("{bad:?}") };
        assert_refused(error, &path);
        assert_eq!((bad.digest, &bad.models), (Some(digest), &vec![name("m")]));
        let opened = Weights::open(store, &store.model(&name("m")).unwrap(), &OpenOptions::default());
        // A device may be mapped, and has no bytes.
        assert!(matches!(opened, Err(WeightsError::Blob { .. } | WeightsError::Short { found: 0, .. })), "{opened:?}");
        // An import replaces the device by the blob.
        let done = commit(store, "m", std::slice::from_ref(&blob));
        assert_eq!((done.new_blobs, done.new_bytes), (1, blob.bytes.len() as u64));
        assert_eq!(fs::read(&path).unwrap(), blob.bytes);
        assert!(verify(store).bad.is_empty());
    }
}

#[test]
fn the_marker_is_a_regular_file() {
    for other in OTHERS {
        let (scratch, _, path) = with(|store| store.root().join("longshore.json"), other);
        let StoreError::Fs(error) = Store::open(scratch.store.root()).unwrap_err() else { panic!("another error") };
        assert_refused(&error, &path);
    }
}

#[test]
fn the_directory_of_the_blobs_is_one() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("w", 4, 1)]);
    let model = scratch.store.model(&name("m")).unwrap();
    let blobs = scratch.store.root().join("blobs");
    fs::remove_dir_all(&blobs).unwrap();
    pipe(&blobs);
    let opened = Weights::open(&scratch.store, &model, &OpenOptions::default());
    assert!(matches!(opened, Err(WeightsError::Blob { .. })), "{opened:?}");
}

/// No model needs these entries, and no operation removes them.
#[test]
fn what_has_a_blobs_name_and_is_no_file_is_bad() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("w", 4, 1)]);
    let (dir, queue) = (Digest::of(b"directory"), Digest::of(b"pipe"));
    fs::create_dir(scratch.store.blob_path(&dir)).unwrap();
    pipe(&scratch.store.blob_path(&queue));
    let found = verify(&scratch.store);
    let of = |digest| found.bad.iter().find(|bad| bad.digest == Some(digest)).unwrap();
    for (digest, text) in [(dir, "it is a directory"), (queue, "it is not a regular file")] {
        assert!(of(digest).problem.to_string().ends_with(text) && of(digest).models.is_empty(), "{:?}", of(digest));
    }
    assert_eq!(found.bad.len(), 2);
    assert_eq!(scratch.store.gc(&at_once(false), &Silent).unwrap().blobs, []);
    assert!(scratch.store.blob_path(&dir).exists() && scratch.store.blob_path(&queue).exists());
}

#[test]
fn a_directory_is_not_taken_for_a_blob() {
    let digest = Digest::of(&Blob::plain("w", 4, 1).bytes);
    let (scratch, ..) = with(|store| store.blob_path(&digest), |path| fs::create_dir(path).unwrap());
    let bad = verify(&scratch.store).bad;
    let [bad] = &bad[..] else { panic!("{bad:?}") };
    assert!(matches!(&bad.problem, Problem::Read(error) if error.kind() == io::ErrorKind::IsADirectory), "{bad:?}");
}
