use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use longshore_manifest::{
    Descriptor, Digest, Manifest, Progress, Silent,
    store::{GcError, GcOptions, GcOutcome, ModelError, VerifyOptions},
};

use crate::util::{Blob, Scratch, age, at_once, chain, commit, file, name, put, snapshot, verify};

/// Adds a model and removes its manifest without the store's help.
fn orphan(scratch: &Scratch, text: &str, seed: u8) -> Vec<Digest> {
    commit(&scratch.store, text, &[Blob::plain(text, 10, seed)]);
    let model = scratch.store.model(&name(text)).unwrap();
    fs::remove_file(scratch.store.manifest_path(&name(text))).unwrap();
    // The file that every model here has is not an orphan as long as there is another model.
    let mut digests = vec![model.manifest.config.digest, model.manifest.layers[0].digest];
    digests.sort_unstable();
    digests
}

#[test]
fn what_no_name_reaches_is_deleted() {
    let scratch = Scratch::new();
    commit(&scratch.store, "kept", &[Blob::plain("kept", 10, 1)]);
    let kept = scratch.blobs();
    let orphans = orphan(&scratch, "orphan", 2);
    put(&scratch.store.root().join("blobs/sha256-partial"), b"not ours");
    let size = |digest: &Digest| scratch.store.blob_path(digest).metadata().unwrap().len();
    let expected: Vec<_> = orphans.iter().map(|digest| (*digest, size(digest))).collect();

    let before = snapshot(scratch.store.root());
    let dry = scratch.store.gc(&at_once(true), &Silent).unwrap();
    assert_eq!(dry.blobs, expected);
    assert_eq!(snapshot(scratch.store.root()), before);

    let done = scratch.store.gc(&at_once(false), &Silent).unwrap();
    let all =
        |found: &GcOutcome| (found.blobs.clone(), found.temporary_bytes, found.young.clone(), found.in_use.clone());
    assert_eq!(all(&done), all(&dry));
    assert!(done.left.is_none());
    assert_eq!(done.bytes(), expected.iter().map(|(_, size)| size).sum::<u64>());
    assert_eq!(scratch.blobs(), [kept, vec!["sha256-partial".into()]].concat());
    assert!(scratch.store.gc(&at_once(false), &Silent).unwrap().blobs.is_empty());
    scratch.store.model(&name("kept")).unwrap();
}

#[test]
fn stopping_it_leaves_every_blob_in_place() {
    /// Cancels from the given number of questions on.
    struct Stops(AtomicUsize);
    impl Progress for Stops {
        fn cancelled(&self) -> bool {
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
        }
    }

    let scratch = Scratch::new();
    commit(&scratch.store, "kept", &[Blob::plain("kept", 10, 1)]);
    for seed in 2..6 {
        orphan(&scratch, &format!("orphan{seed}"), seed);
    }
    let before = snapshot(scratch.store.root());
    let orphans = scratch.store.gc(&at_once(true), &Silent).unwrap().blobs.len();
    for asked in 0..=orphans {
        let stopped = scratch.store.gc(&at_once(false), &Stops(asked.into()));
        assert!(matches!(stopped, Err(GcError::Cancelled)), "{asked}: {stopped:?}");
        assert_eq!(snapshot(scratch.store.root()), before, "{asked}");
    }
    let done = scratch.store.gc(&at_once(false), &Stops((orphans + 1).into())).unwrap();
    assert_eq!(done.blobs.len(), orphans);
}

#[test]
fn temporaries_of_killed_imports_are_deleted_and_counted() {
    let scratch = Scratch::new();
    commit(&scratch.store, "kept", &[Blob::plain("kept", 10, 1)]);
    let tmp = scratch.store.root().join("tmp");
    put(&tmp.join("1-2-3/blob"), &[0; 100]);
    put(&tmp.join("marker-1-2-3"), &[0; 11]);
    fs::create_dir(tmp.join("4-5-6")).unwrap();
    // The owners of these temporaries cannot be identified, so the temporaries are kept for a day.
    assert_eq!(scratch.store.gc(&at_once(false), &Silent).unwrap().temporary_bytes, 0);
    assert_eq!(scratch.temporaries().len(), 3);
    for path in ["1-2-3/blob", "1-2-3", "marker-1-2-3", "4-5-6"] {
        age(&tmp.join(path), 24 * 60 + 1);
    }
    assert_eq!(scratch.store.gc(&at_once(true), &Silent).unwrap().temporary_bytes, 111);
    assert_eq!(scratch.temporaries().len(), 3);
    let done = scratch.store.gc(&at_once(false), &Silent).unwrap();
    assert_eq!((done.temporary_bytes, done.bytes()), (111, 111));
    assert!(scratch.temporaries().is_empty());
}

#[test]
fn what_is_younger_than_the_grace_stays() {
    let scratch = Scratch::new();
    let orphans = orphan(&scratch, "orphan", 2);
    let old = scratch.store.blob_path(&orphans[0]);
    age(&old, 61);
    let dry = scratch.store.gc(&GcOptions { dry_run: true, ..GcOptions::default() }, &Silent).unwrap();
    let done = scratch.store.gc(&GcOptions::default(), &Silent).unwrap();
    let all =
        |found: &GcOutcome| (found.blobs.clone(), found.temporary_bytes, found.young.clone(), found.in_use.clone());
    assert_eq!(all(&done), all(&dry));
    assert!(done.left.is_none());
    assert_eq!(done.blobs.iter().map(|(digest, _)| *digest).collect::<Vec<_>>(), orphans[..1]);
    // Young are the other blob and the companion file, which no other model here has.
    assert_eq!(done.young.len(), 2);
    assert!(done.young_bytes() > 0 && done.in_use.is_empty());
    assert!(!old.exists() && scratch.store.blob_path(&orphans[1]).exists());
    assert_eq!(scratch.store.gc(&at_once(false), &Silent).unwrap().blobs.len(), 2);
    assert!(scratch.blobs().is_empty());
}

#[test]
fn a_blob_that_is_reused_is_young_again() {
    let scratch = Scratch::new();
    let orphans = orphan(&scratch, "orphan", 2);
    for digest in &orphans {
        age(&scratch.store.blob_path(digest), 61);
    }
    let ingest = scratch.store.ingest().unwrap();
    assert!(ingest.add(&fs::read(scratch.store.blob_path(&orphans[0])).unwrap()).unwrap().reused);
    // The import is dropped: its lease is gone, and the blob's time is new.
    drop(ingest);
    let done = scratch.store.gc(&GcOptions::default(), &Silent).unwrap();
    assert_eq!(done.blobs.iter().map(|(digest, _)| *digest).collect::<Vec<_>>(), orphans[1..]);
}

#[test]
fn an_unreadable_manifest_stops_it() {
    let scratch = Scratch::new();
    orphan(&scratch, "orphan", 2);
    commit(&scratch.store, "bad", &[Blob::plain("bad", 10, 1)]);
    fs::write(scratch.store.manifest_path(&name("bad")), b"").unwrap();
    let before = snapshot(scratch.store.root());
    for dry_run in [false, true] {
        let error = scratch.store.gc(&at_once(dry_run), &Silent).unwrap_err();
        assert!(matches!(&error, GcError::Unreadable { name: bad, .. } if **bad == name("bad")), "{error}");
        assert_eq!(chain(&error)[0], "the manifest of bad:latest cannot be read, so its blobs are not known");
    }
    assert_eq!(snapshot(scratch.store.root()), before);

    // The name can be removed, and then its blobs are removed too.
    let removed = scratch.store.remove(&name("bad")).unwrap();
    assert!(removed.blobs.is_empty() && matches!(removed.left, Some(GcError::Unreadable { .. })));
    assert_eq!(scratch.store.gc(&at_once(false), &Silent).unwrap().blobs.len(), 5);
    assert!(scratch.blobs().is_empty());
}

#[test]
fn what_a_running_import_needs_stays() {
    let scratch = Scratch::new();
    let orphans = orphan(&scratch, "orphan", 2);
    commit(&scratch.store, "m", &[Blob::plain("m", 10, 1)]);
    let content = fs::read(scratch.store.blob_path(&orphans[0])).unwrap();
    let ingest = scratch.store.ingest().unwrap();
    let added = ingest.add(b"has no name yet").unwrap();
    let reused = ingest.add(&content).unwrap();
    assert!(!added.reused && reused.reused);
    for dry_run in [true, false] {
        let done = scratch.store.gc(&at_once(dry_run), &Silent).unwrap();
        assert_eq!(done.blobs.iter().map(|(digest, _)| *digest).collect::<Vec<_>>(), orphans[1..]);
        assert_eq!(done.in_use, [(reused.digest, reused.size)]);
        assert_eq!(done.temporary_bytes, 0);
    }
    assert_eq!(scratch.temporaries().len(), 1);

    // A blob stays too if its last name is removed in the meantime.
    let kept = ingest.add(b"{}\n").unwrap();
    let removed = scratch.store.remove(&name("m")).unwrap();
    assert_eq!((removed.blobs.len(), removed.in_use), (2, vec![(kept.digest, 3)]));
    assert!(removed.left.is_none());
    assert!(matches!(scratch.store.model(&name("m")), Err(ModelError::NotFound { .. })));

    let config = Descriptor::config(added.clone());
    let layers = vec![file("a", reused), file("b", kept)];
    ingest.commit(&name("n"), &Manifest::new(config, layers)).unwrap();
    assert!(scratch.store.gc(&at_once(false), &Silent).unwrap().blobs.is_empty());
    assert_eq!(scratch.blobs().len(), 3);
}

#[test]
fn a_lease_that_cannot_be_read_stops_it() {
    let scratch = Scratch::new();
    orphan(&scratch, "orphan", 2);
    let ingest = scratch.store.ingest().unwrap();
    let lease = scratch.store.root().join("tmp").join(&scratch.temporaries()[0]).join("lease");
    fs::write(&lease, b"{\"later\":\"version\"}\n").unwrap();
    for dry_run in [true, false] {
        let error = scratch.store.gc(&at_once(dry_run), &Silent).unwrap_err();
        let GcError::Lease { dir, source } = &error else { panic!("{error}") };
        assert_eq!((dir.join("lease"), &source.path), (lease.clone(), &lease));
    }
    drop(ingest);
    assert_eq!(scratch.store.gc(&at_once(false), &Silent).unwrap().blobs.len(), 3);
}

#[test]
fn a_store_that_does_not_exist_is_not_made() {
    let scratch = Scratch::new();
    assert_eq!(scratch.store.gc(&at_once(false), &Silent).unwrap().bytes(), 0);
    assert!(!scratch.store.root().exists());
    fs::create_dir(scratch.store.root()).unwrap();
    assert_eq!(scratch.store.gc(&at_once(false), &Silent).unwrap().bytes(), 0);
    assert!(fs::read_dir(scratch.store.root()).unwrap().next().is_none());
}

#[test]
fn removing_a_name_frees_what_only_it_reached() {
    let scratch = Scratch::new();
    let (shared, own) = (Blob::plain("shared", 10, 1), Blob::plain("own", 20, 2));
    let orphans = orphan(&scratch, "orphan", 3);
    commit(&scratch.store, "a", &[shared.clone(), own.clone()]);
    commit(&scratch.store, "b", std::slice::from_ref(&shared));
    let config = scratch.store.model(&name("a")).unwrap().manifest.config;
    let removed = scratch.store.remove(&name("a")).unwrap();
    let mut expected = vec![(Digest::of(&own.bytes), own.bytes.len() as u64), (config.digest, config.size)];
    expected.sort_unstable();
    assert_eq!(removed.blobs, expected);
    assert_eq!(removed.bytes(), own.bytes.len() as u64 + config.size);
    assert!(removed.left.is_none());
    // Blobs that no name reached before are left to `gc`.
    assert!(orphans.iter().all(|digest| scratch.store.blob_path(digest).exists()));
    scratch.store.model(&name("b")).unwrap();
    let outcome = verify(&scratch.store);
    assert!(outcome.bad.is_empty(), "{:?}", outcome.bad);
}

#[test]
fn a_second_name_keeps_everything() {
    let scratch = Scratch::new();
    commit(&scratch.store, "a", &[Blob::plain("a", 10, 1)]);
    scratch.store.copy(&name("a"), &name("b")).unwrap();
    assert!(scratch.store.remove(&name("a")).unwrap().blobs.is_empty());
    assert_eq!(scratch.blobs().len(), 3);
    assert_eq!(scratch.store.remove(&name("b")).unwrap().blobs.len(), 3);
    assert!(scratch.blobs().is_empty());
}

#[test]
fn a_name_that_windows_cannot_hold_keeps_its_blobs() {
    let scratch = Scratch::new();
    commit(&scratch.store, "kept", &[Blob::plain("kept", 10, 1)]);
    commit(&scratch.store, "other", &[Blob::plain("other", 10, 2)]);
    let before = scratch.blobs();
    // As another program or an earlier release names a model.
    let found = scratch.store.manifest_path(&name("other"));
    let odd = found.parent().unwrap().parent().unwrap().join("con/latest.");
    fs::create_dir(odd.parent().unwrap()).unwrap();
    fs::rename(found, odd).unwrap();
    let names: Vec<_> = scratch.store.names().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["con:latest.", "kept:latest"]);
    assert!(scratch.store.gc(&at_once(false), &Silent).unwrap().blobs.is_empty());
    scratch.store.remove(&name("kept")).unwrap();
    // Only the one of the three blobs that both share is not freed with the other two.
    assert_eq!(scratch.blobs().len(), before.len() - 2);
}

#[test]
fn another_unreadable_manifest_leaves_the_blobs() {
    let scratch = Scratch::new();
    for text in ["a", "bad"] {
        commit(&scratch.store, text, &[Blob::plain(text, 10, 1)]);
    }
    fs::write(scratch.store.manifest_path(&name("bad")), b"{").unwrap();
    let removed = scratch.store.remove(&name("a")).unwrap();
    assert!(removed.blobs.is_empty() && matches!(removed.left, Some(GcError::Unreadable { .. })));
    assert_eq!(scratch.blobs().len(), 5);
}

#[test]
fn an_unknown_name_cannot_be_removed() {
    let scratch = Scratch::new();
    for made in [false, true] {
        if made {
            commit(&scratch.store, "other", &[Blob::plain("a", 1, 1)]);
        }
        let error = scratch.store.remove(&name("m")).unwrap_err();
        assert!(matches!(&error, GcError::Model(ModelError::NotFound { .. })), "{error}");
        assert_eq!(chain(&error).len(), 1);
        assert_eq!(scratch.store.root().exists(), made);
    }
}

#[test]
fn empty_directories_go_with_the_last_name_in_them() {
    let scratch = Scratch::new();
    for text in ["h/ns/m:1", "h/ns/m:2", "h/ns/other"] {
        commit(&scratch.store, text, &[Blob::plain("a", 1, 1)]);
    }
    let manifests = scratch.store.root().join("manifests");
    for (text, gone, stays) in
        [("h/ns/m:1", "h/ns/m/1", "h/ns/m/2"), ("h/ns/m:2", "h/ns/m", "h/ns/other"), ("h/ns/other", "h", "")]
    {
        scratch.store.remove(&name(text)).unwrap();
        assert!(!manifests.join(gone).exists() && manifests.join(stays).exists(), "{text}");
    }
    commit(&scratch.store, "h/ns/m:1", &[Blob::plain("a", 1, 1)]);
    scratch.store.model(&name("h/ns/m:1")).unwrap();
}

#[test]
fn nothing_is_lost_among_imports_removals_and_two_that_collect() {
    let scratch = Scratch::new();
    let collecting = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        let imports: Vec<_> = ["a", "b", "same", "same"]
            .into_iter()
            .enumerate()
            .map(|(at, text)| {
                let store = &scratch.store;
                scope.spawn(move || {
                    for round in 0..12 {
                        commit(store, text, &[Blob::plain("shared", 10, round), Blob::plain(text, 10, round)]);
                        if text != "same" {
                            let model = store.model(&name(text)).unwrap();
                            assert!(model.manifest.blobs().all(|blob| store.blob_path(&blob.digest).exists()));
                        }
                        if at == 1 && round % 3 == 2 {
                            let removed = store.remove(&name(text)).unwrap();
                            assert!(removed.left.is_none(), "{:?}", removed.left);
                        }
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                while collecting.load(std::sync::atomic::Ordering::Relaxed) {
                    scratch.store.gc(&at_once(false), &Silent).unwrap_or_else(|error| panic!("{:?}", chain(&error)));
                    scratch.store.list().unwrap();
                }
            });
        }
        let done: Vec<_> = imports.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        collecting.store(false, std::sync::atomic::Ordering::Relaxed);
        for done in done {
            done.unwrap();
        }
    });
    let outcome = verify(&scratch.store);
    assert!(outcome.bad.is_empty(), "{:?}", outcome.bad);
    scratch.store.gc(&at_once(false), &Silent).unwrap();
    let reached: std::collections::BTreeSet<_> = scratch
        .store
        .names()
        .unwrap()
        .iter()
        .flat_map(|name| {
            scratch.store.model(name).unwrap().manifest.blobs().map(|blob| blob.digest).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(scratch.blobs().len(), reached.len());
    assert!(scratch.temporaries().is_empty());
}

/// An unmounted disk hides names, so their absence proves nothing.
#[cfg(unix)]
#[test]
fn names_that_are_out_of_reach_keep_their_blobs() {
    for hidden in ["manifests", "manifests/registry.ollama.ai", "manifests/registry.ollama.ai/library"] {
        let scratch = Scratch::new();
        commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
        let before = snapshot(&scratch.store.root().join("blobs"));
        let place = scratch.store.root().join(hidden);
        let away = scratch.beside("away");
        fs::rename(&place, &away).unwrap();
        std::os::unix::fs::symlink(scratch.beside("not-mounted"), &place).unwrap();
        let spare_nothing = at_once(false);
        assert!(matches!(scratch.store.gc(&spare_nothing, &Silent), Err(GcError::Fs(_))), "{hidden}");
        assert!(scratch.store.verify(&VerifyOptions::default(), &Silent).is_err(), "{hidden}");
        assert_eq!(snapshot(&scratch.store.root().join("blobs")), before, "{hidden}");
        fs::remove_file(&place).unwrap();
        fs::rename(&away, &place).unwrap();
        assert!(scratch.store.gc(&spare_nothing, &Silent).unwrap().blobs.is_empty(), "{hidden}");
        scratch.store.model(&name("m")).unwrap();
    }
}
