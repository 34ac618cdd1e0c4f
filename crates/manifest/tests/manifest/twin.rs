use std::fs;

use longshore_manifest::{Descriptor, Digest, Manifest, store::Ingest};
use proptest::prelude::*;

use crate::util::{Blob, Scratch, bytes, chain, commit, file, name, replace};

/// Makes a store with a blob of `content` that is the layer `w`.
fn with_layer(content: &[u8]) -> Scratch {
    let scratch = Scratch::new();
    let ingest = scratch.store.ingest().unwrap();
    let layer = file("w", ingest.add(content).unwrap());
    let config = Descriptor::config(ingest.add(b"{}").unwrap());
    ingest.commit(&name("m"), &Manifest::new(config, vec![layer])).unwrap();
    scratch
}

/// Returns the number of files that an import has open or finished.
fn files(scratch: &Scratch) -> usize {
    let dir = scratch.store.root().join("tmp").join(&scratch.temporaries()[0]);
    fs::read_dir(dir).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() != "lease").count()
}

fn commit_layer(ingest: Ingest<'_>, added: longshore_manifest::store::Added) -> u64 {
    let layer = file("w", added);
    let config = Descriptor::config(ingest.add(b"{}").unwrap());
    ingest.commit(&name("m"), &Manifest::new(config, vec![layer])).unwrap().new_bytes
}

#[test]
fn a_blob_that_is_stored_already_is_read_and_not_written() {
    let content = bytes(700_000, 1);
    let scratch = with_layer(&content);
    let ingest = scratch.store.ingest().unwrap();
    let mut blob = ingest.blob_like("w", 700_000).unwrap();
    for (start, end) in [(0, 64), (600_000, 700_000), (64, 300_000), (300_000, 600_000)] {
        blob.write_at(start as u64, &content[start..end]).unwrap();
    }
    assert_eq!(files(&scratch), 0);
    let added = blob.finish().unwrap();
    assert_eq!((added.digest, added.size, added.reused), (Digest::of(&content), 700_000, true));
    assert_eq!(commit_layer(ingest, added), 0);
}

#[test]
fn only_a_layer_of_the_same_name_and_size_is_a_twin() {
    let content = bytes(1000, 1);
    let scratch = with_layer(&content);
    let ingest = scratch.store.ingest().unwrap();
    for (layer, size) in [("v", 1000), ("w", 999), ("", 0)] {
        let blob = ingest.blob_like(layer, size).unwrap();
        assert_eq!(files(&scratch), 1, "{layer} {size}");
        drop(blob);
        assert!(!ingest.has_like(layer, size), "{layer} {size}");
    }
    assert!(ingest.has_like("w", 1000));
    replace(&scratch.store.blob_path(&Digest::of(&content)), b"cut off");
    assert!(!ingest.has_like("w", 1000));
}

#[test]
fn a_blob_that_differs_becomes_one_of_its_own() {
    let content = bytes(700_000, 1);
    let scratch = with_layer(&content);
    for at in [0, 63, 64, 299_999, 650_000, 699_999] {
        let mut other = content.clone();
        other[at] ^= 1;
        let ingest = scratch.store.ingest().unwrap();
        let mut blob = ingest.blob_like("w", 700_000).unwrap();
        for (start, end) in [(0, 64), (600_000, 700_000), (64, 300_000), (300_000, 600_000)] {
            blob.write_at(start as u64, &other[start..end]).unwrap();
        }
        let added = blob.finish().unwrap();
        assert_eq!((added.digest, added.reused), (Digest::of(&other), false), "{at}");
        let config = Descriptor::config(added.clone());
        ingest.commit(&name("other"), &Manifest::new(config, vec![])).unwrap();
        assert_eq!(fs::read(scratch.store.blob_path(&added.digest)).unwrap(), other);
    }
    assert_eq!(fs::read(scratch.store.blob_path(&Digest::of(&content))).unwrap(), content);
}

#[test]
fn a_damaged_twin_is_replaced() {
    let content = bytes(5000, 1);
    let scratch = with_layer(&content);
    let path = scratch.store.blob_path(&Digest::of(&content));
    for damage in [0, 2500, 4999] {
        let mut damaged = content.clone();
        damaged[damage] ^= 0x80;
        replace(&path, &damaged);
        let ingest = scratch.store.ingest().unwrap();
        let mut blob = ingest.blob_like("w", 5000).unwrap();
        blob.write_at(0, &content[..2000]).unwrap();
        blob.write_at(2000, &content[2000..]).unwrap();
        let added = blob.finish().unwrap();
        assert!(!added.reused);
        assert_eq!(commit_layer(ingest, added), 5000);
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    // The stored blob is cut off, longer, or gone.
    for wrong in [Some(&content[..10]), Some(&[content.as_slice(), b"x"].concat()), None] {
        fs::remove_file(&path).unwrap();
        if let Some(wrong) = wrong {
            fs::write(&path, wrong).unwrap();
        }
        let ingest = scratch.store.ingest().unwrap();
        let mut blob = ingest.blob_like("w", 5000).unwrap();
        blob.write_at(0, &content).unwrap();
        let added = blob.finish().unwrap();
        assert_eq!((added.digest, added.reused), (Digest::of(&content), false));
        commit_layer(ingest, added.clone());
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_source_with_the_same_damage_is_a_blob_of_its_own() {
    let content = bytes(5000, 1);
    let scratch = with_layer(&content);
    let mut damaged = content.clone();
    damaged[77] ^= 1;
    replace(&scratch.store.blob_path(&Digest::of(&content)), &damaged);
    let ingest = scratch.store.ingest().unwrap();
    let mut blob = ingest.blob_like("w", 5000).unwrap();
    blob.write_at(0, &damaged).unwrap();
    let added = blob.finish().unwrap();
    assert_eq!((added.digest, added.reused), (Digest::of(&damaged), false));
    commit_layer(ingest, added.clone());
    assert_eq!(fs::read(scratch.store.blob_path(&Digest::of(&damaged))).unwrap(), damaged);
}

#[test]
fn gaps_are_refused_beside_a_twin_too() {
    let content = bytes(5000, 1);
    let scratch = with_layer(&content);
    let ingest = scratch.store.ingest().unwrap();
    for last in [content[4999], content[4999] ^ 1] {
        let mut blob = ingest.blob_like("w", 5000).unwrap();
        blob.write_at(0, &content[..10]).unwrap();
        blob.write_at(4999, &[last]).unwrap();
        // The twin's bytes in the gap must not become part of the blob.
        let error = blob.finish().unwrap_err();
        assert!(chain(&error)[1].contains("11 bytes were written, expected the 5000"), "{:?}", chain(&error));
    }
    assert_eq!(files(&scratch), 0);
}

#[test]
fn a_shorter_blob_is_not_its_twin() {
    let content = bytes(5000, 1);
    let scratch = with_layer(&content);
    let ingest = scratch.store.ingest().unwrap();
    let mut blob = ingest.blob_like("w", 5000).unwrap();
    blob.write_at(0, &content[..100]).unwrap();
    let added = blob.finish().unwrap();
    assert_eq!((added.digest, added.size, added.reused), (Digest::of(&content[..100]), 100, false));
}

#[test]
fn an_unreadable_manifest_is_no_reason_to_fail() {
    let scratch = Scratch::new();
    commit(&scratch.store, "bad", &[Blob::plain("a", 1, 1)]);
    fs::write(scratch.store.manifest_path(&name("bad")), b"").unwrap();
    let ingest = scratch.store.ingest().unwrap();
    let mut blob = ingest.blob_like("a", 3).unwrap();
    blob.write_at(0, b"abc").unwrap();
    assert!(!blob.finish().unwrap().reused);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_bytes_are_those_that_were_written(
        content in prop::collection::vec(any::<u8>(), 1..600),
        change: prop::sample::Index,
        flip in prop::option::of(1_u8..),
        cut: prop::sample::Index,
        backwards: bool,
        aside: bool,
    ) {
        let scratch = with_layer(&content);
        let mut other = content.clone();
        if let Some(flip) = flip {
            *change.get_mut(&mut other) ^= flip;
        }
        let cut = cut.index(content.len() + 1);
        let mut pieces = [(0, cut), (cut, content.len())];
        if backwards {
            pieces.reverse();
        }
        let ingest = scratch.store.ingest().unwrap();
        let mut blob = ingest.blob_like("w", content.len() as u64).unwrap();
        prop_assert!(!aside || blob.hash_aside());
        for (start, end) in pieces {
            blob.write_at(start as u64, &other[start..end]).unwrap();
        }
        let added = blob.finish().unwrap();
        prop_assert_eq!((added.digest, added.reused), (Digest::of(&other), flip.is_none()));
        commit_layer(ingest, added.clone());
        prop_assert_eq!(fs::read(scratch.store.blob_path(&added.digest)).unwrap(), other);
    }
}

#[test]
fn added_bytes_replace_a_damaged_blob_of_their_digest() {
    let content = b"a config document";
    let scratch = with_layer(content);
    let path = scratch.store.blob_path(&Digest::of(content));
    replace(&path, b"a CONFIG document");
    let ingest = scratch.store.ingest().unwrap();
    let added = ingest.add(content).unwrap();
    assert!(!added.reused);
    commit_layer(ingest, added.clone());
    assert_eq!(fs::read(path).unwrap(), content);
}
