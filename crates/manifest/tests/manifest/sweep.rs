use std::fs;

use crate::util::{Blob, Scratch, age, commit, put};

#[test]
fn the_next_import_removes_expired_temporaries_and_no_fresh_ones() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    let tmp = scratch.store.root().join("tmp");
    for (dir, minutes) in [("old", 61), ("fresh", 59)] {
        put(&tmp.join(dir).join("blob"), b"half");
        age(&tmp.join(dir).join("blob"), minutes);
    }
    // One old file does not make a directory old in which another was written just now.
    put(&tmp.join("running/first"), b"whole");
    put(&tmp.join("running/second"), b"half");
    age(&tmp.join("running/first"), 600);
    put(&tmp.join("marker-old"), b"{}");
    age(&tmp.join("marker-old"), 61);
    // A clock that was wrong makes nothing old.
    put(&tmp.join("future/blob"), b"half");
    let ahead = std::time::SystemTime::now() + std::time::Duration::from_secs(7200);
    fs::File::open(tmp.join("future/blob")).unwrap().set_modified(ahead).unwrap();

    drop(scratch.store.ingest().unwrap());
    assert_eq!(scratch.temporaries(), ["fresh", "future", "running"]);
}

#[cfg(unix)]
#[test]
fn an_empty_directory_counts_by_its_own_time() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    let tmp = scratch.store.root().join("tmp");
    for (dir, minutes) in [("old", 61), ("fresh", 59)] {
        fs::create_dir(tmp.join(dir)).unwrap();
        age(&tmp.join(dir), minutes);
    }
    drop(scratch.store.ingest().unwrap());
    assert_eq!(scratch.temporaries(), ["fresh"]);
}

#[test]
fn nothing_is_swept_beside_an_import_that_runs() {
    let scratch = Scratch::new();
    let running = scratch.store.ingest().unwrap();
    let mut blob = running.blob().unwrap();
    blob.write_at(0, b"an import that sleeps for hours").unwrap();
    let dir = scratch.store.root().join("tmp").join(&scratch.temporaries()[0]);
    for file in fs::read_dir(dir).unwrap() {
        age(&file.unwrap().path(), 600);
    }
    drop(scratch.store.ingest().unwrap());
    assert_eq!(scratch.temporaries().len(), 1);
    blob.finish().unwrap();
    drop(running);
    assert!(scratch.temporaries().is_empty());
}

#[cfg(unix)]
#[test]
fn a_link_in_the_directory_is_removed_and_not_followed() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    let elsewhere = scratch.beside("elsewhere");
    put(&elsewhere.join("precious"), b"of somebody else");
    std::os::unix::fs::symlink(&elsewhere, scratch.store.root().join("tmp/link")).unwrap();
    scratch.store.gc(false).unwrap();
    assert!(scratch.temporaries().is_empty());
    assert!(elsewhere.join("precious").exists());
}
