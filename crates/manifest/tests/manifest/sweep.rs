use std::fs;

use longshore_manifest::{Descriptor, Digest, Manifest, Silent, store::Ingest};

use crate::util::{Blob, Scratch, age, at_once, bytes, commit, name, put, verify};

const DAY: u64 = 24 * 60;

#[test]
fn what_nobody_has_written_to_for_a_day_is_removed_and_nothing_younger() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    let tmp = scratch.store.root().join("tmp");
    for (dir, minutes) in [("old", DAY + 1), ("fresh", DAY - 1)] {
        put(&tmp.join(dir).join("blob"), b"half");
        age(&tmp.join(dir).join("blob"), minutes);
        age(&tmp.join(dir), minutes);
    }
    // An old file does not make a directory old if another file in it was written, or removed, just now.
    put(&tmp.join("running/first"), b"whole");
    put(&tmp.join("running/second"), b"half");
    age(&tmp.join("running/first"), 10 * DAY);
    age(&tmp.join("running"), 10 * DAY);
    put(&tmp.join("taking/first"), b"whole");
    age(&tmp.join("taking/first"), 10 * DAY);
    put(&tmp.join("file-old"), b"{}");
    age(&tmp.join("file-old"), DAY + 1);
    // A time in the near future does not make anything old.
    put(&tmp.join("future/blob"), b"half");
    let ahead = std::time::SystemTime::now() + std::time::Duration::from_secs(7200);
    fs::File::open(tmp.join("future/blob")).unwrap().set_modified(ahead).unwrap();
    // A time days ahead comes from a wrong clock and keeps nothing. What was written to later is not old because of it.
    let far = std::time::SystemTime::now() + std::time::Duration::from_secs(60 * (DAY + 60));
    for dir in ["far", "far-and-fresh"] {
        put(&tmp.join(dir).join("lease"), b"");
        put(&tmp.join(dir).join("blob"), b"half");
        age(&tmp.join(dir).join("blob"), DAY + 1);
        fs::File::open(tmp.join(dir).join("lease")).unwrap().set_modified(far).unwrap();
        age(&tmp.join(dir), DAY + 1);
    }
    age(&tmp.join("far-and-fresh/blob"), 1);

    drop(scratch.store.ingest().unwrap());
    assert_eq!(scratch.temporaries(), ["far-and-fresh", "fresh", "future", "running", "taking"]);
}

#[test]
fn an_import_that_runs_is_left_alone_however_long_it_sleeps() {
    let scratch = Scratch::new();
    let running = scratch.store.ingest().unwrap();
    let mut blob = running.blob().unwrap();
    blob.write_at(0, b"an import that sleeps for days").unwrap();
    let dir = scratch.store.root().join("tmp").join(&scratch.temporaries()[0]);
    if cfg!(target_os = "linux") {
        for file in fs::read_dir(&dir).unwrap() {
            age(&file.unwrap().path(), 10 * DAY);
        }
        age(&dir, 10 * DAY);
    }
    drop(scratch.store.ingest().unwrap());
    scratch.store.gc(&at_once(false), &Silent).unwrap();
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
    let digest = Digest::of(b"x");
    put(&elsewhere.join(digest.file_name()), b"x");
    let old = scratch.store.root().join("tmp/old");
    fs::create_dir(&old).unwrap();
    std::os::unix::fs::symlink(&elsewhere, old.join("link")).unwrap();
    age(&elsewhere.join("precious"), 10 * DAY);
    age(&elsewhere.join(digest.file_name()), 10 * DAY);
    age(&elsewhere, 10 * DAY);
    kill(&scratch, &old);
    drop(scratch.store.ingest().unwrap());
    assert!(scratch.temporaries().is_empty());
    assert!(elsewhere.join("precious").exists() && elsewhere.join(digest.file_name()).exists());
    assert!(!scratch.store.blob_path(&digest).exists());
}

/// Makes a directory look as if its owner had ended.
fn kill(scratch: &Scratch, dir: &std::path::Path) {
    age(dir, 10 * DAY);
    // Links have a time of their own, which counts and cannot be set here.
    if cfg!(target_os = "linux") {
        let own = scratch.store.ingest().unwrap();
        let running = scratch.temporaries().into_iter().find(|name| name.matches('-').count() == 5).unwrap();
        drop(own);
        let mut parts: Vec<_> = running.split('-').collect();
        parts[1] = "1";
        fs::rename(dir, dir.with_file_name(parts.join("-"))).unwrap();
    }
}

/// Leaves what an import leaves that is killed after finishing the layers `w0`, `w1`, … and starting another.
fn killed(scratch: &Scratch, layers: &[Vec<u8>]) {
    let ingest = scratch.store.ingest().unwrap();
    for (at, content) in layers.iter().enumerate() {
        write(&ingest, &format!("w{at}"), content);
    }
    let mut half = ingest.blob_like("half", 1000).unwrap();
    half.write_at(0, &[1; 500]).unwrap();
    let tmp = scratch.store.root().join("tmp");
    let dir = tmp.join(scratch.temporaries().last().unwrap());
    // Moved out of reach of the clean-up when the import is dropped here.
    let aside = scratch.beside("aside");
    fs::rename(&dir, &aside).unwrap();
    drop(half);
    drop(ingest);
    let old = tmp.join("old");
    fs::rename(&aside, &old).unwrap();
    for file in fs::read_dir(&old).unwrap() {
        let path = file.unwrap().path();
        age(&path, 10 * DAY);
        if path.is_dir() {
            for file in fs::read_dir(&path).unwrap() {
                age(&file.unwrap().path(), 10 * DAY);
            }
            age(&path, 10 * DAY);
        }
    }
    age(&old, 10 * DAY);
}

fn write(ingest: &Ingest<'_>, layer: &str, content: &[u8]) -> longshore_manifest::store::Added {
    let mut blob = ingest.blob_like(layer, content.len() as u64).unwrap();
    blob.write_at(0, content).unwrap();
    blob.finish().unwrap()
}

fn files(scratch: &Scratch) -> usize {
    fn count(dir: &std::path::Path) -> usize {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| if path.is_dir() { count(&path) } else { usize::from(!path.ends_with("lease")) }).sum()
    }
    count(&scratch.store.root().join("tmp"))
}

#[test]
fn the_next_import_goes_on_from_what_a_killed_one_had_finished() {
    let scratch = Scratch::new();
    let layers: Vec<Vec<u8>> = (0..4).map(|seed| bytes(5000, seed)).collect();
    killed(&scratch, &layers);

    let ingest = scratch.store.ingest().unwrap();
    // The half-written file is removed at once.
    assert_eq!(files(&scratch), 4);
    assert!(ingest.has_like("w0", 5000) && !ingest.has_like("w0", 4999) && !ingest.has_like("half", 1000));
    let mut blob = ingest.blob_like("w0", 5000).unwrap();
    blob.write_at(3000, &layers[0][3000..]).unwrap();
    blob.write_at(0, &layers[0][..3000]).unwrap();
    assert_eq!(files(&scratch), 4);
    let first = blob.finish().unwrap();
    assert!(!first.reused);
    // Another layer of that name gets a blob of its own.
    let mut other = layers[1].clone();
    other[4999] ^= 1;
    let second = write(&ingest, "w1", &other);
    assert_eq!((second.digest, files(&scratch)), (Digest::of(&other), 4));
    // Only one writer gets the file.
    let third = write(&ingest, "w2", &layers[2]);
    assert!(write(&ingest, "w2", &layers[2]).reused);

    let layers = [first, second, third].map(|added| Descriptor::tensor("w", added)).to_vec();
    let config = Descriptor::config(ingest.add(b"{}").unwrap());
    let done = ingest.commit(&name("m"), &Manifest::new(config, layers)).unwrap();
    // New are the other blob and the config. Blobs that were taken over count as reused, each once.
    assert_eq!((done.new_blobs, done.new_bytes), (2, 5_002));
    assert_eq!((done.reused_blobs, done.reused_bytes), (2, 10_000));
    assert_eq!((done.taken_over_blobs, done.taken_over_bytes), (2, 10_000));
    assert!(scratch.temporaries().is_empty());
    assert_eq!(scratch.blobs().len(), 4);
    assert_eq!(scratch.store.gc(&at_once(true), &Silent).unwrap().blobs, []);
    for blob in scratch.store.model(&name("m")).unwrap().manifest.blobs() {
        let content = fs::read(scratch.store.blob_path(&blob.digest)).unwrap();
        assert_eq!(Digest::of(&content), blob.digest);
    }
}

#[test]
fn one_that_took_over_and_is_killed_too_loses_nothing() {
    let scratch = Scratch::new();
    let layers: Vec<Vec<u8>> = (0..3).map(|seed| bytes(5000, seed)).collect();
    killed(&scratch, &layers);
    // This import takes `w0` over, and neither `w1` nor `w2`.
    killed(&scratch, &layers[..1]);
    killed(&scratch, &[]);
    let ingest = scratch.store.ingest().unwrap();
    assert_eq!(files(&scratch), 3);
    for (at, content) in layers.iter().enumerate() {
        let layer = format!("w{at}");
        assert!(ingest.has_like(&layer, 5000));
        write(&ingest, &layer, content);
        assert_eq!(files(&scratch), 3);
    }
}

#[test]
fn a_lease_leads_to_no_file_outside_its_directory() {
    let scratch = Scratch::new();
    killed(&scratch, &[]);
    let old = scratch.store.root().join("tmp/old");
    put(&scratch.beside("precious"), b"x");
    let line =
        |file: &str| format!("{{\"digest\":\"{}\",\"size\":1,\"name\":\"w\",\"file\":{file:?}}}\n", Digest::of(b"x"));
    for file in ["../../../precious", "/etc/passwd", "a/../b"] {
        fs::create_dir_all(&old).unwrap();
        fs::write(old.join("lease"), line(file)).unwrap();
        age(&old.join("lease"), 10 * DAY);
        age(&old, 10 * DAY);
        let ingest = scratch.store.ingest().unwrap();
        assert!(!ingest.has_like("w", 1), "{file}");
    }
    assert!(scratch.beside("precious").exists());
}

#[test]
fn a_copy_leaves_finished_work_to_the_import_that_wants_it() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    killed(&scratch, &[bytes(5000, 1)]);
    scratch.store.copy(&name("m"), &name("n")).unwrap();
    assert_eq!(files(&scratch), 2);
    assert!(scratch.store.ingest().unwrap().has_like("w0", 5000));
    assert!(scratch.temporaries().is_empty());
}

#[test]
fn what_a_killed_gc_had_moved_is_put_back() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 10, 1)]);
    let digest = scratch.store.model(&name("m")).unwrap().manifest.layers[0].digest;
    let moved = scratch.store.root().join("tmp/old").join(digest.file_name());
    for again in [false, true] {
        let content = fs::read(scratch.store.blob_path(&digest)).unwrap();
        fs::create_dir_all(moved.parent().unwrap()).unwrap();
        fs::rename(scratch.store.blob_path(&digest), &moved).unwrap();
        if again {
            // Another process has written the blob anew. The moved one may be the damaged one that it replaced.
            put(&scratch.store.blob_path(&digest), &content);
            fs::remove_file(&moved).unwrap();
            put(&moved, b"damaged");
        }
        age(&moved, 10 * DAY);
        age(moved.parent().unwrap(), 10 * DAY);
        drop(scratch.store.ingest().unwrap());
        assert!(scratch.temporaries().is_empty());
        assert!(verify(&scratch.store).bad.is_empty());
    }
    // The directory of a running `gc` is left alone, and an import that needs the blob fetches it.
    fs::create_dir_all(moved.parent().unwrap()).unwrap();
    fs::rename(scratch.store.blob_path(&digest), &moved).unwrap();
    drop(scratch.store.ingest().unwrap());
    assert!(moved.exists());
    scratch.store.copy(&name("m"), &name("n")).unwrap();
    assert!(!moved.exists() && verify(&scratch.store).bad.is_empty());
}

/// A dead temporary of another user does not keep the other temporaries from being taken.
#[cfg(unix)]
#[test]
fn what_cannot_be_taken_is_left_and_the_rest_goes() {
    use std::os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    };

    const VARIABLE: &str = "LONGSHORE_TEST_OTHERS_TEMPORARY";
    let sweep = |root: &std::path::Path| {
        let store = longshore_manifest::Store::open(root).unwrap();
        let done = store.gc(&at_once(false), &Silent).unwrap();
        let left = done.left.unwrap();
        assert_eq!((left.kind(), left.from), (std::io::ErrorKind::PermissionDenied, Some(root.join("tmp/b-theirs"))));
        assert_eq!((done.blobs, done.temporary_bytes), (vec![(Digest::of(b"orphan"), 6)], 8));
        drop(store.ingest().unwrap());
    };
    if let Some(path) = std::env::var_os(VARIABLE) {
        return sweep(path.as_ref());
    }
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    put(&scratch.store.blob_path(&Digest::of(b"orphan")), b"orphan");
    let root = scratch.store.root().to_path_buf();
    for dir in ["a-mine", "b-theirs", "c-mine"] {
        let dir = root.join("tmp").join(dir);
        put(&dir.join("blob"), b"half");
        age(&dir.join("blob"), 10 * DAY);
        age(&dir, 10 * DAY);
    }
    // A directory that may not be written to cannot be moved into another.
    let allow = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let theirs = root.join("tmp/b-theirs");
    if root.metadata().unwrap().uid() == 0 {
        // This user may do everything, so another user is made the owner of everything else.
        let mut all = vec![root.clone()];
        while let Some(path) = all.pop() {
            if path != theirs {
                std::os::unix::fs::chown(&path, Some(65_534), Some(65_534)).unwrap();
                let inner = fs::read_dir(&path).into_iter().flatten().map(|entry| entry.unwrap().path());
                all.extend(inner);
            }
        }
        allow(root.parent().unwrap(), 0o755);
        let program = scratch.beside("tests");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let mut other = std::process::Command::new(program);
        other.args(["--exact", "sweep::what_cannot_be_taken_is_left_and_the_rest_goes"]).env(VARIABLE, &root);
        let done = other.uid(65_534).gid(65_534).current_dir("/").output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && text.contains("1 passed"), "{text}");
    } else {
        allow(&theirs, 0o555);
        sweep(&root);
        allow(&theirs, 0o755);
    }
    assert_eq!(scratch.temporaries(), ["b-theirs"]);
    assert!(verify(&scratch.store).bad.is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_are_swept_too() {
    use std::os::unix::ffi::OsStrExt as _;

    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 10, 1)]);
    let digest = scratch.store.model(&name("m")).unwrap().manifest.layers[0].digest;
    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    let dir = scratch.store.root().join("tmp").join(odd);
    let moved = dir.join(odd).join(digest.file_name());
    fs::create_dir_all(moved.parent().unwrap()).unwrap();
    fs::rename(scratch.store.blob_path(&digest), &moved).unwrap();
    for (path, minutes) in [(moved.as_path(), 2 * DAY), (moved.parent().unwrap(), 2 * DAY), (&dir, DAY - 1)] {
        age(path, minutes);
    }
    scratch.store.gc(&at_once(false), &Silent).unwrap();
    assert!(dir.exists());
    age(&dir, 2 * DAY);
    scratch.store.gc(&at_once(false), &Silent).unwrap();
    // The blob in the directory is back in place.
    assert!(!dir.exists() && verify(&scratch.store).bad.is_empty());
}
