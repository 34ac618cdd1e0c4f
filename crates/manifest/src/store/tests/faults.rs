//! If any change of the disk fails, the state before remains, and nothing else.

use std::{
    error::Error as _,
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use super::{
    super::{GcError, IngestError, Store},
    scenario::{
        A, B, C, SCENARIOS, Scenario, bury, collect, entries, go_on, import, name, quick, remove, scratch, text,
        try_import,
    },
};
use crate::{
    Digest,
    fs::{Disk, record::Faulty},
};

/// Opens a store of which one change fails.
fn faulty(dir: &Path, faulty: Faulty) -> (Store, Arc<Faulty>) {
    let faulty = Arc::new(faulty);
    (Store::open_on(dir.join("store"), Disk::of(faulty.clone())).unwrap(), faulty)
}

/// Lets each change of a scenario fail in turn, and checks what is left and reported.
fn fail_everywhere(scenario: &Scenario, error: io::ErrorKind, can_sync_all: bool) {
    for at in 0.. {
        let dir = scratch();
        (scenario.before)(&quick(dir.path()));
        let (store, faulty) = faulty(dir.path(), Faulty { can_sync_all, ..Faulty::new(error, at) });
        let done = (scenario.act)(&store);
        let failed = faulty.failed.lock().unwrap().first().cloned();
        let Some((action, path)) = failed else {
            assert_eq!(faulty.count.load(Ordering::Relaxed), at, "{}", scenario.what);
            done.unwrap();
            assert!(at > 10, "{}", scenario.what);
            return;
        };
        let what = format!("{}, {action} {} as number {at}: {done:?}", scenario.what, path.display());
        match &done {
            // Times are hints. Temporaries that cannot be taken over or removed stay until the next operation.
            Ok(()) => assert!(is_optional(action, &path), "{what}"),
            Err(text) => assert!(text.contains(&path.display().to_string()), "{what}"),
        }
        let again = quick(dir.path());
        scenario.check(&again).unwrap_or_else(|error| panic!("{what}: {error}"));
        let left = entries(&again.temporary());
        // Files of a killed import may stay where they are.
        assert!(action == "remove" || left.iter().all(|name| name == "one"), "{what}: {left:?}");
        if done.is_err() && action != "remove" && !scenario.what.contains("collection") {
            assert_eq!(strays(&again, scenario), [""; 0], "{what}");
        }
        bury(&again.temporary());
        go_on(&again).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

/// Whether an import or a removal succeeds although this change fails. Times are hints, and temporaries that cannot be
/// taken over, put back or removed stay until the next operation.
fn is_optional(action: &str, path: &Path) -> bool {
    let is_manifest = path.ends_with("latest");
    let is_put_back = path.to_string_lossy().contains("blobs/sha256-");
    match action {
        "set the time of" => true,
        "remove" => !is_manifest,
        _ => action.starts_with("rename") && (path.ends_with("one") || is_put_back),
    }
}

/// Returns the blobs that were not there before and that no name reaches.
fn strays(store: &Store, scenario: &Scenario) -> Vec<String> {
    let before = scratch();
    (scenario.before)(&quick(before.path()));
    let mut known = entries(&quick(before.path()).blobs());
    for name in store.names().unwrap() {
        known.extend(store.model(&name).unwrap().manifest.blobs().map(|blob| blob.digest.file_name()));
    }
    // A failed removal leaves its blobs, and a blob that a dead `gc` had moved comes back.
    known.insert(Digest::of(b"moved").file_name());
    entries(&store.blobs()).into_iter().filter(|name| !known.contains(name)).collect()
}

#[test]
fn a_full_disk_at_any_time() {
    for scenario in &SCENARIOS {
        fail_everywhere(scenario, io::ErrorKind::StorageFull, true);
    }
}

#[test]
fn a_broken_disk_at_any_time() {
    for scenario in &SCENARIOS {
        fail_everywhere(scenario, io::ErrorKind::Other, false);
    }
}

/// Adds a blob piece by piece, while another thread hashes.
fn add_aside(store: &Store, content: &[u8]) -> Result<Digest, IngestError> {
    let ingest = store.ingest()?;
    let mut blob = ingest.blob()?;
    assert!(blob.hash_aside());
    for (at, piece) in (0_u64..).zip(content.chunks(256 << 10)) {
        blob.write_at(at * (256 << 10), piece)?;
    }
    Ok(blob.finish()?.digest)
}

#[test]
fn a_full_disk_while_another_thread_hashes() {
    let content = vec![7; 3 << 20];
    for at in 0.. {
        let dir = scratch();
        let (store, faulty) = faulty(dir.path(), Faulty::new(io::ErrorKind::StorageFull, at));
        let done = add_aside(&store, &content).map_err(|error| text(&error));
        let failed = faulty.failed.lock().unwrap().first().cloned();
        let Some((action, path)) = failed else {
            assert_eq!(done, Ok(Digest::of(&content)));
            assert!(at > 5);
            return;
        };
        match done {
            Ok(found) => assert_eq!((found, is_optional(action, &path)), (Digest::of(&content), true), "{action}"),
            Err(text) => assert!(text.contains(&path.display().to_string()), "{action}: {text}"),
        }
        let left = entries(&quick(dir.path()).temporary());
        assert!(action == "remove" || left.is_empty(), "{action} {}: {left:?}", path.display());
    }
}

#[test]
fn a_store_that_cannot_be_written_to() {
    let dir = scratch();
    import(&quick(dir.path()), "m", &[A, B]).unwrap();
    let (store, _) = faulty(dir.path(), Faulty::read_only());
    let root = dir.path().join("store");
    let is_read_only = |error: &crate::FsError| {
        assert!(error.path.starts_with(&root), "{}", error.path.display());
        error.kind() == io::ErrorKind::ReadOnlyFilesystem
    };
    let error = try_import(&store, "n", &[C]).unwrap_err();
    assert!(matches!(&error, IngestError::Fs(error) if is_read_only(error)), "{error}");
    let error = store.remove(&name("m")).unwrap_err();
    assert!(matches!(&error, GcError::Fs(error) if is_read_only(error)), "{error}");
    assert!(store.copy(&name("m"), &name("n")).unwrap_err().source().is_some());
    // Without blobs to delete, `gc` writes nothing.
    collect(&store).unwrap();
    store.model(&name("m")).unwrap();
    assert!(entries(&store.temporary()).is_empty());
    remove(&quick(dir.path()), "m").unwrap();
}

#[test]
fn a_store_that_cannot_be_made() {
    let dir = scratch();
    let (store, faulty) = faulty(dir.path(), Faulty::read_only());
    let error = try_import(&store, "n", &[C]).unwrap_err();
    assert!(matches!(&error, IngestError::Fs(error) if error.path.ends_with("store")), "{error}");
    assert_eq!(faulty.failed.lock().unwrap()[0], ("create the directory", PathBuf::from(store.root())));
    assert!(!store.root().exists());
}
