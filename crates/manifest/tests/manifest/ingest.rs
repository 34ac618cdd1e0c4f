use std::{fs, sync::Barrier};

use longshore_manifest::{
    Descriptor, Digest, Manifest, Store,
    store::{Added, IngestError},
};
use proptest::prelude::*;

use crate::util::{Blob, Scratch, add, bytes, chain, commit, name, put, replace, snapshot, verify};

/// Writes the pieces `(offset, end)` of `content` in this order.
fn write(store: &Store, content: &[u8], pieces: &[(usize, usize)]) -> Added {
    let ingest = store.ingest().unwrap();
    let mut blob = ingest.blob().unwrap();
    for &(start, end) in pieces {
        blob.write_at(start as u64, &content[start..end]).unwrap();
    }
    blob.finish().unwrap()
}

#[test]
fn the_digest_is_that_of_the_file_in_whatever_order_it_is_written() {
    let scratch = Scratch::new();
    let content = bytes(1_000_000, 7);
    let expected = Added::new(Digest::of(&content), 1_000_000);
    for pieces in [
        &[(0, 1_000_000)][..],
        &[(0, 10), (10, 500_000), (500_000, 1_000_000)],
        &[(500_000, 1_000_000), (0, 500_000)],
        // Two parts that grow side by side, as codes and scales do.
        &[(0, 64), (64, 200), (900_000, 900_010), (200, 500), (900_010, 1_000_000), (500, 900_000)],
        // The gap behind the header is closed last.
        &[(0, 64), (100, 1_000_000), (64, 100)],
        &[(0, 0), (0, 1_000_000), (1_000_000, 1_000_000)],
    ] {
        assert_eq!(write(&scratch.store, &content, pieces), expected, "{pieces:?}");
    }
    assert_eq!(write(&scratch.store, &[], &[]).digest, Digest::of(b""));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_order_of_pieces_gives_the_same_blob(
        content in prop::collection::vec(any::<u8>(), 1..4000),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        seed: u64,
        aside in 0_usize..16,
    ) {
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(content.len())).chain([0, content.len()]).collect();
        ends.sort_unstable();
        let mut pieces: Vec<_> = ends.windows(2).map(|pair| (pair[0], pair[1])).collect();
        pieces.sort_by_key(|&(start, _)| (start as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let scratch = Scratch::new();
        let ingest = scratch.store.ingest().unwrap();
        let mut blob = ingest.blob().unwrap();
        for (at, (start, end)) in pieces.into_iter().enumerate() {
            prop_assert!(at != aside || blob.hash_aside());
            blob.write_at(start as u64, &content[start..end]).unwrap();
        }
        let added = blob.finish().unwrap();
        prop_assert_eq!(added.digest, Digest::of(&content));
        // The committed file holds these bytes too.
        let config = Descriptor::config(added.clone());
        ingest.commit(&name("m"), &Manifest::new(config, vec![])).unwrap();
        prop_assert_eq!(fs::read(scratch.store.blob_path(&added.digest)).unwrap(), content);
    }
}

#[test]
fn a_blob_that_is_not_written_as_promised_is_refused() {
    let scratch = Scratch::new();
    let ingest = scratch.store.ingest().unwrap();

    let mut gap = ingest.blob().unwrap();
    gap.write_at(0, b"ab").unwrap();
    gap.write_at(3, b"de").unwrap();
    let error = gap.finish().unwrap_err();
    assert!(chain(&error)[1].contains("4 bytes were written, expected the 5"), "{:?}", chain(&error));

    // The first bytes are hashed already. Other bytes in their place would be stored under a wrong digest.
    let mut twice = ingest.blob().unwrap();
    twice.write_at(0, b"abcd").unwrap();
    let error = twice.write_at(2, b"xy").unwrap_err();
    assert!(chain(&error)[1].contains("byte 2 is written twice"), "{:?}", chain(&error));
    assert_eq!(twice.finish().unwrap().digest, Digest::of(b"abcd"));

    let mut beyond = ingest.blob().unwrap();
    beyond.write_at(u64::MAX, b"ab").unwrap_err();
    // Bytes that are only gathered leave a gap before them.
    beyond.write_at(u64::MAX - 7, b"ab").unwrap();
    let error = beyond.finish().unwrap_err();
    assert!(
        chain(&error)[1].contains("2 bytes were written, expected the 18446744073709551610"),
        "{:?}",
        chain(&error)
    );

    // Another process cuts the file off. Fewer bytes would only be gathered yet.
    let mut short = ingest.blob().unwrap();
    short.write_at(0, &vec![7; 2 << 20]).unwrap();
    let dir = scratch.store.root().join("tmp").join(&scratch.temporaries()[0]);
    let newest = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.metadata().unwrap().len() == 2 << 20);
    let newest = newest.unwrap();
    // Its permissions keep it from being opened for writing, except by root.
    let mut permissions = newest.metadata().unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "the file is removed at the end")]
    permissions.set_readonly(false);
    fs::set_permissions(&newest, permissions).unwrap();
    fs::OpenOptions::new().write(true).open(newest).unwrap().set_len(3).unwrap();
    let error = short.finish().unwrap_err();
    assert!(chain(&error)[1].contains("it has 3 bytes, expected the 2097152"), "{:?}", chain(&error));
}

#[test]
fn a_blob_is_stored_once() {
    let scratch = Scratch::new();
    let ingest = scratch.store.ingest().unwrap();
    let first = ingest.add(b"same").unwrap();
    assert!(!first.reused);
    let again = ingest.add(b"same").unwrap();
    let mut expected = first.clone();
    expected.reused = true;
    assert_eq!(again, expected);
    let manifest = Manifest::new(Descriptor::config(first.clone()), vec![Descriptor::tensor("a", again.clone())]);
    let done = ingest.commit(&name("m"), &manifest).unwrap();
    assert_eq!((done.new_blobs, done.new_bytes), (1, 4));
    assert_eq!((done.reused_blobs, done.reused_bytes), (0, 0));
    assert_eq!(done.digest, Digest::of(&manifest.to_bytes()));

    // Another import finds the blob in the store.
    let ingest = scratch.store.ingest().unwrap();
    assert_eq!(ingest.add(b"same").unwrap(), again);
    let done = ingest.commit(&name("other"), &manifest).unwrap();
    assert_eq!((done.new_blobs, done.new_bytes), (0, 0));
    assert_eq!((done.reused_blobs, done.reused_bytes), (1, 4));
    assert_eq!(scratch.blobs(), [first.digest.file_name()]);
}

#[test]
fn a_second_import_adds_no_bytes() {
    let scratch = Scratch::new();
    let blobs = [Blob::plain("a", 5, 1), Blob::int4("b", 4, 32, 2)];
    let first = commit(&scratch.store, "m:one", &blobs);
    assert_eq!(first.new_blobs, 4);
    let before = snapshot(&scratch.store.root().join("blobs"));
    let second = commit(&scratch.store, "m:two", &blobs);
    assert_eq!((second.new_blobs, second.new_bytes, second.digest), (0, 0, first.digest));
    assert_eq!((second.reused_blobs, second.reused_bytes), (4, first.new_bytes));
    assert_eq!(snapshot(&scratch.store.root().join("blobs")), before);
}

#[test]
fn a_blob_that_another_import_has_put_there_meanwhile_is_not_new() {
    let scratch = Scratch::new();
    let blobs = [Blob::plain("a", 5, 1), Blob::int4("b", 4, 32, 2)];
    let (one, two) = (scratch.store.ingest().unwrap(), scratch.store.ingest().unwrap());
    let (first, second) = (add(&one, &blobs[..1]), add(&two, &blobs));
    let first = one.commit(&name("one"), &first).unwrap();
    assert_eq!(first.new_blobs, 3);
    let (config, own) = (second.config.size, blobs[1].bytes.len() as u64);
    let second = two.commit(&name("two"), &second).unwrap();
    assert_eq!((second.new_blobs, second.new_bytes), (2, config + own));
    // Reused are the first tensor and `config.json`.
    assert_eq!((second.reused_blobs, second.reused_bytes), (2, blobs[0].bytes.len() as u64 + 3));
    assert_eq!((second.taken_over_blobs, second.taken_over_bytes), (0, 0));
}

#[test]
fn a_file_of_the_wrong_size_is_replaced() {
    let scratch = Scratch::new();
    let blob = Blob::plain("a", 500, 1);
    commit(&scratch.store, "m", std::slice::from_ref(&blob));
    let path = scratch.store.blob_path(&Digest::of(&blob.bytes));
    for wrong in [&blob.bytes[..blob.bytes.len() - 1], &[], &[blob.bytes.as_slice(), b"x"].concat()] {
        replace(&path, wrong);
        let done = commit(&scratch.store, "m", std::slice::from_ref(&blob));
        assert_eq!((done.new_blobs, done.new_bytes), (1, blob.bytes.len() as u64));
        assert_eq!(done.reused_blobs, 2);
        assert_eq!(fs::read(&path).unwrap(), blob.bytes);
    }
}

#[test]
fn an_import_that_is_given_up_leaves_nothing() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    let before = snapshot(scratch.store.root());
    {
        let ingest = scratch.store.ingest().unwrap();
        add(&ingest, &[Blob::plain("b", 9, 2)]);
        let mut unfinished = ingest.blob().unwrap();
        unfinished.write_at(0, b"half").unwrap();
        assert_eq!(scratch.temporaries().len(), 1);
        drop(unfinished);
        drop(ingest);
    }
    assert_eq!(snapshot(scratch.store.root()), before);
    assert!(scratch.temporaries().is_empty());
}

#[test]
fn an_unfinished_blob_removes_its_file_at_once() {
    let scratch = Scratch::new();
    let ingest = scratch.store.ingest().unwrap();
    let mut unfinished = ingest.blob().unwrap();
    unfinished.write_at(0, b"half").unwrap();
    let dir = scratch.store.root().join("tmp").join(&scratch.temporaries()[0]);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
    drop(unfinished);
    // The lease stays.
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

#[test]
fn a_manifest_with_a_missing_blob_is_refused() {
    let scratch = Scratch::new();
    let kept = commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    let before = snapshot(scratch.store.root());
    let ingest = scratch.store.ingest().unwrap();
    let mut manifest = add(&ingest, &[Blob::plain("b", 9, 2)]);
    let missing = Digest::of(b"nobody added this");
    manifest.layers.push(Descriptor::tensor("c", Added::new(missing, 17)));
    let error = ingest.commit(&name("m"), &manifest).unwrap_err();
    assert!(matches!(error, IngestError::MissingBlob { digest, size: 17 } if digest == missing), "{error}");
    assert_eq!(snapshot(scratch.store.root()), before);
    assert_eq!(scratch.store.model(&name("m")).unwrap().digest, kept.digest);

    // A stored blob with another size than the manifest says is missing too.
    let ingest = scratch.store.ingest().unwrap();
    let mut manifest = add(&ingest, &[Blob::plain("b", 9, 2)]);
    manifest.layers[0].size += 1;
    assert!(matches!(ingest.commit(&name("m"), &manifest), Err(IngestError::MissingBlob { .. })));
    assert_eq!(snapshot(scratch.store.root()), before);
}

#[test]
fn blobs_that_the_manifest_does_not_name_are_dropped() {
    let scratch = Scratch::new();
    let ingest = scratch.store.ingest().unwrap();
    let manifest = add(&ingest, &[Blob::plain("a", 1, 1)]);
    let stray = ingest.add(b"planned and not used").unwrap();
    let done = ingest.commit(&name("m"), &manifest).unwrap();
    assert_eq!(done.new_blobs, 3);
    assert!(!scratch.store.blob_path(&stray.digest).exists());
    assert!(scratch.temporaries().is_empty());
}

#[test]
fn a_name_can_be_given_again() {
    let scratch = Scratch::new();
    let old = commit(&scratch.store, "ns/m:t", &[Blob::plain("a", 1, 1)]);
    let new = commit(&scratch.store, "ns/m:t", &[Blob::plain("a", 2, 2)]);
    assert_ne!(old.digest, new.digest);
    assert_eq!(scratch.store.names().unwrap(), [name("ns/m:t")]);
    let model = scratch.store.model(&name("ns/m:t")).unwrap();
    assert_eq!(model.digest, new.digest);
    assert_eq!(fs::read(scratch.store.manifest_path(&name("ns/m:t"))).unwrap(), model.manifest.to_bytes());
}

#[test]
fn two_imports_of_the_same_blobs_at_once() {
    let scratch = Scratch::new();
    let blobs: Vec<Blob> = (0..20).map(|at| Blob::plain(&format!("t{at}"), 100, at)).collect();
    let together = Barrier::new(2);
    let digests = std::thread::scope(|scope| {
        let import = |text: &'static str| {
            let (store, blobs, together) = (scratch.store.clone(), &blobs, &together);
            scope.spawn(move || {
                let ingest = store.ingest().unwrap();
                together.wait();
                let manifest = add(&ingest, blobs);
                together.wait();
                ingest.commit(&name(text), &manifest).unwrap().digest
            })
        };
        let (one, two) = (import("m:one"), import("m:two"));
        [one.join().unwrap(), two.join().unwrap()]
    });
    assert_eq!(digests[0], digests[1]);
    assert_eq!(scratch.blobs().len(), 22);
    assert!(scratch.temporaries().is_empty());
    let outcome = verify(&scratch.store);
    assert!(outcome.bad.is_empty(), "{:?}", outcome.bad);
}

#[test]
fn many_threads_write_the_blobs_of_one_import() {
    let scratch = Scratch::new();
    let blobs: Vec<Blob> = (0..32).map(|at| Blob::plain(&format!("t{at}"), 50, at / 2)).collect();
    let ingest = scratch.store.ingest().unwrap();
    let added: Vec<Added> = std::thread::scope(|scope| {
        let threads: Vec<_> = blobs.iter().map(|blob| scope.spawn(|| ingest.add(&blob.bytes).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(added.iter().zip(&blobs).all(|(added, blob)| added.digest == Digest::of(&blob.bytes)));
    let manifest = add(&ingest, &blobs);
    assert_eq!(ingest.commit(&name("m"), &manifest).unwrap().new_blobs, 34);
}

#[test]
fn the_removal_of_a_neighbour_does_not_disturb_a_commit() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    // Both names lie in one directory, which is removed whenever the other name has just been removed.
    std::thread::scope(|scope| {
        for tag in ["one", "two"] {
            let store = &scratch.store;
            scope.spawn(move || {
                let to = name(&format!("h/ns/shared:{tag}"));
                for _ in 0..25 {
                    store.copy(&name("m"), &to).unwrap();
                    store.remove(&to).unwrap();
                }
            });
        }
    });
    assert_eq!(scratch.store.names().unwrap(), [name("m")]);
    assert_eq!(scratch.blobs().len(), 3);
}

#[cfg(unix)]
#[test]
fn blobs_are_read_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let scratch = Scratch::new();
    let blob = Blob::plain("a", 1, 1);
    commit(&scratch.store, "m", std::slice::from_ref(&blob));
    for blob in scratch.blobs() {
        let mode = scratch.store.root().join("blobs").join(blob).metadata().unwrap().permissions().mode();
        // The owner's umask may remove more permissions.
        assert_eq!((mode & 0o333, mode & 0o400), (0, 0o400), "{mode:o}");
    }
}

#[test]
fn an_error_of_the_file_system_names_the_path() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    // A directory lies where the manifest should go.
    put(&scratch.store.manifest_path(&name("m:taken")).join("x"), b"");
    let ingest = scratch.store.ingest().unwrap();
    let manifest = add(&ingest, &[Blob::plain("b", 1, 2)]);
    let error = ingest.commit(&name("m:taken"), &manifest).unwrap_err();
    assert!(matches!(&error, IngestError::Fs(error) if error.path.ends_with("m/taken")), "{error}");
    chain(&error);
    assert!(scratch.temporaries().is_empty());
}

#[test]
fn free_space_is_known_for_a_store_that_does_not_exist() {
    let scratch = Scratch::new();
    if cfg!(unix) {
        assert!(scratch.store.available_bytes().unwrap() > 0);
        assert!(Store::open("does/not/exist").unwrap().available_bytes().unwrap() > 0);
    }
}
