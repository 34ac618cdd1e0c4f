//! Tests of replacing damaged blobs, and of hashing loaded weights.

use std::{fs, sync::atomic::AtomicBool};

use longshore_manifest::{
    Digest, Progress, Silent, Weights,
    store::BlobWriter,
    weights::{CorruptError, OpenOptions, plan::Selection},
};

use crate::util::{Blob, Scratch, commit, name, replace, snapshot, verify};

fn blobs() -> [Blob; 3] {
    [Blob::plain("a", 300, 1), Blob::int4("b", 40, 32, 2), Blob::nvfp4("c", 4, 3)]
}

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &blobs());
    scratch
}

fn write(mut writer: BlobWriter<'_>, bytes: &[u8]) -> Digest {
    writer.write_at(0, bytes).unwrap();
    writer.finish().unwrap().digest
}

/// Flips a bit of a blob's last byte, which changes neither the blob's size nor its header.
fn damage(scratch: &Scratch, blob: &Blob) -> Digest {
    let mut bytes = blob.bytes.clone();
    *bytes.last_mut().unwrap() ^= 1;
    replace(&scratch.store.blob_path(&Digest::of(&blob.bytes)), &bytes);
    Digest::of(&bytes)
}

#[test]
fn what_the_store_has_is_not_trusted() {
    let (scratch, [a, b, c]) = (scratch(), blobs());
    let before = snapshot(scratch.store.root());
    damage(&scratch, &a);
    fs::remove_file(scratch.store.blob_path(&Digest::of(&b.bytes))).unwrap();
    let ingest = scratch.store.ingest().unwrap();
    let digests = [&a, &b, &c].map(|blob| Digest::of(&blob.bytes));
    assert_eq!(write(ingest.replacement(digests[0]).unwrap(), &a.bytes), digests[0]);
    assert_eq!(write(ingest.replacement(digests[1]).unwrap(), &b.bytes), digests[1]);
    // One replacement turns out to have another digest, and one was not requested.
    assert_ne!(write(ingest.replacement(digests[2]).unwrap(), &a.bytes[1..]), digests[2]);
    ingest.add(b"other").unwrap();
    let placed = ingest.mend(&digests).unwrap();
    assert_eq!(placed, [&a, &b].map(|blob| (Digest::of(&blob.bytes), blob.bytes.len() as u64)));
    assert!(verify(&scratch.store).bad.is_empty());
    let mut after = snapshot(scratch.store.root());
    after.retain(|path, _| before.contains_key(path));
    assert!(after == before && scratch.temporaries().is_empty());
}

#[test]
fn nothing_is_put_in_place_by_one_that_is_dropped() {
    let (scratch, [a, ..]) = (scratch(), blobs());
    damage(&scratch, &a);
    let before = scratch.blobs();
    let ingest = scratch.store.ingest().unwrap();
    write(ingest.replacement(Digest::of(&a.bytes)).unwrap(), &a.bytes);
    drop(ingest);
    assert_eq!(verify(&scratch.store).bad.len(), 1);
    assert_eq!(scratch.blobs(), before);
    assert!(scratch.temporaries().is_empty());
}

#[test]
fn a_commit_puts_replacements_in_place_too() {
    let (scratch, [a, ..]) = (scratch(), blobs());
    damage(&scratch, &a);
    let ingest = scratch.store.ingest().unwrap();
    write(ingest.replacement(Digest::of(&a.bytes)).unwrap(), &a.bytes);
    let manifest = scratch.store.manifest(&name("m")).unwrap().1;
    assert_eq!(ingest.commit(&name("m"), &manifest).unwrap().new_blobs, 1);
    assert!(verify(&scratch.store).bad.is_empty());
}

#[test]
fn a_bad_blob_is_named_as_its_models_name_it() {
    let (scratch, [a, b, _]) = (scratch(), blobs());
    commit(&scratch.store, "n", &[Blob { name: "again".into(), tensors: Vec::new(), ..a.clone() }, b.clone()]);
    damage(&scratch, &a);
    damage(&scratch, &b);
    let found = verify(&scratch.store).bad;
    let names = |blob: &Blob| {
        let is_damage = |bad: &&longshore_manifest::store::Bad| bad.problem.to_string().starts_with("corrupt");
        let mut of_blob = found.iter().filter(|bad| bad.digest == Some(Digest::of(&blob.bytes))).filter(is_damage);
        of_blob.next().unwrap().names.clone()
    };
    assert_eq!(names(&a), ["a", "again"]);
    assert_eq!(names(&b), ["b"]);
}

#[test]
fn weights_are_hashed_as_they_are_loaded() {
    let (scratch, [a, b, c]) = (scratch(), blobs());
    let open = |options: &OpenOptions<'_>| {
        Weights::open(&scratch.store, &scratch.store.model(&name("m")).unwrap(), options).unwrap()
    };
    open(&OpenOptions::default()).verify(&Silent).unwrap();
    let of_b = damage(&scratch, &b);
    let error = open(&OpenOptions::default()).verify(&Silent).unwrap_err();
    let digest = Digest::of(&b.bytes);
    assert_eq!(error.to_string(), format!("the blob {digest} of \"b\" is corrupt: its bytes have the digest {of_b}"));
    damage(&scratch, &c);
    let error = open(&OpenOptions::default()).verify(&Silent).unwrap_err();
    assert!(matches!(&error, CorruptError::Blob { digest: found, others: 1, .. } if *found == digest), "{error}");
    // Blobs that are not loaded are not hashed.
    let selection = Selection { names: vec![a.name.clone()], ..Selection::default() };
    let options = OpenOptions { selection, ..OpenOptions::default() };
    open(&options).verify(&Silent).unwrap();
}

#[test]
fn hashing_of_weights_can_be_stopped() {
    struct Stop(AtomicBool);
    impl Progress for Stop {
        fn begin(&self, stage: &'static str, total: u64) {
            assert_eq!(stage, "verifying");
            assert!(total > 0);
        }
        fn cancelled(&self) -> bool {
            self.0.load(std::sync::atomic::Ordering::Relaxed)
        }
    }
    let scratch = scratch();
    let model = scratch.store.model(&name("m")).unwrap();
    let weights = Weights::open(&scratch.store, &model, &OpenOptions::default()).unwrap();
    assert!(matches!(weights.verify(&Stop(true.into())), Err(CorruptError::Cancelled)));
    weights.verify(&Stop(false.into())).unwrap();
}
