//! Damaged blobs, had again from a registry.

use longshore_fake_hosts::{Fault, Host as _};
use longshore_manifest::{
    Config, Descriptor, Digest, Manifest, Silent,
    document::{BlobEntry, Facts, Import, TensorTable},
};
use longshore_registry::{Registry, mend};

use crate::support::{bytes, client, import, name, reference, registry, store, try_push, verify};

#[test]
fn only_wrong_chunks_are_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let (here, host) = (store(&dir.path().join("here")), registry());
    let layers = [("model.layers.0.large".to_owned(), 1, 40 << 20), ("model.layers.0.small".to_owned(), 2, 5000)];
    import(&here, "m:1", &layers);
    try_push(&host, &here, "m:1", "a/m:1").unwrap();
    let (_, manifest) = here.manifest(&name("m:1")).unwrap();
    let bad: Vec<_> = manifest.layers.iter().map(|layer| layer.digest).collect();
    for digest in &bad {
        let path = here.blob_path(digest);
        let mut content = std::fs::read(&path).unwrap();
        let last = content.len() - 1;
        content[last] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, content).unwrap();
    }
    host.take_log();
    let registry = Registry::new(client(&host), reference("a/m:1"), None);
    let mended = mend(&registry, &here, &bad, &Silent).unwrap();
    assert_eq!(mended.blobs.len(), 2);
    // The last 8 MiB of 40, and the small one.
    assert_eq!(mended.moved_bytes, (8 << 20) + 5000);
    verify(&here);
    // What the registry does not have stays as it is.
    let other = [Digest::of(b"another model's")];
    assert!(mend(&registry, &here, &other, &Silent).unwrap().blobs.is_empty());
}

#[test]
fn digests_of_chunks_come_from_the_table_and_are_not_computed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (here, host) = (store(&dir.path().join("here")), registry());
    let ingest = here.ingest().unwrap();
    let large = ingest.add(&bytes(1, 40 << 20)).unwrap();
    let mut chunks = large.chunks.clone().unwrap();
    // A digest that nobody computes.
    chunks.digests[0] = Digest::of(b"another");
    let entry = BlobEntry { chunks: Some(chunks), ..BlobEntry::new(large.digest, Vec::new()) };
    let table = TensorTable::new(Facts::default(), Import::default(), vec![entry]);
    let config = ingest.add(&Config::new(table).to_bytes()).unwrap();
    let digest = large.digest;
    let layers = vec![Descriptor::tensor("model.layers.0.large", large)];
    ingest.commit(&name("m:1"), &Manifest::new(Descriptor::config(config), layers)).unwrap();
    try_push(&host, &here, "m:1", "a/m:1").unwrap();
    let path = here.blob_path(&digest);
    let mut content = std::fs::read(&path).unwrap();
    *content.last_mut().unwrap() ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, content).unwrap();
    let registry = Registry::new(client(&host), reference("a/m:1"), None);
    let mended = mend(&registry, &here, &[digest], &Silent).unwrap();
    // The last chunk, and the first, which looks wrong by the table.
    assert_eq!(mended.moved_bytes, (16 + 8) << 20);
    verify(&here);
}

/// Writes other bytes in the place of a stored blob.
fn overwrite(path: &std::path::Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = std::fs::read(path).unwrap();
    change(&mut content);
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, content).unwrap();
}

#[test]
fn what_is_right_is_kept_beside_what_the_registry_has_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (here, host) = (store(&dir.path().join("here")), registry());
    let names = ["model.layers.0.a", "model.layers.0.b", "model.layers.0.c"];
    let layers: Vec<_> = names.iter().zip(1..).map(|(name, seed)| ((*name).to_owned(), seed, 2 << 20)).collect();
    import(&here, "m:1", &layers);
    try_push(&host, &here, "m:1", "a/m:1").unwrap();
    let (_, manifest) = here.manifest(&name("m:1")).unwrap();
    let bad: Vec<_> = manifest.layers.iter().map(|layer| layer.digest).collect();
    for digest in &bad {
        overwrite(&here.blob_path(digest), |content| content[9] ^= 1);
    }
    let registry = Registry::new(client(&host), reference("a/m:1"), None);
    for (at, fault) in [(1, Fault::Corrupt(5)), (2, Fault::Status(403))] {
        host.faults.order("GET", &bad[at].to_string(), fault, usize::MAX);
    }
    // The second is wrong, and the third does not come.
    mend(&registry, &here, &bad, &Silent).unwrap_err();
    let is_right = |at: usize| Digest::of(&std::fs::read(here.blob_path(&bad[at])).unwrap()) == bad[at];
    assert_eq!([0, 1, 2].map(is_right), [true, false, false]);
    let mended = mend(&registry, &here, &bad[..2], &Silent).unwrap();
    assert_eq!((mended.blobs.len(), mended.wrong.len(), mended.wrong[0].0), (1, 1, bad[1]));
    host.faults.clear();
    mend(&registry, &here, &bad[1..], &Silent).unwrap();
    verify(&here);
}

#[test]
fn chunks_that_make_no_whole_are_all_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let (here, host) = (store(&dir.path().join("here")), registry());
    let ingest = here.ingest().unwrap();
    let content = bytes(1, 40 << 20);
    let large = ingest.add(&content).unwrap();
    let mut damaged = content[..16 << 20].to_vec();
    damaged[77] ^= 1;
    let mut chunks = large.chunks.clone().unwrap();
    chunks.digests[0] = Digest::of(&damaged);
    let entry = BlobEntry { chunks: Some(chunks), ..BlobEntry::new(large.digest, Vec::new()) };
    let table = TensorTable::new(Facts::default(), Import::default(), vec![entry]);
    let config = ingest.add(&Config::new(table).to_bytes()).unwrap();
    let digest = large.digest;
    let layers = vec![Descriptor::tensor("model.layers.0.large", large)];
    ingest.commit(&name("m:1"), &Manifest::new(Descriptor::config(config), layers)).unwrap();
    try_push(&host, &here, "m:1", "a/m:1").unwrap();
    overwrite(&here.blob_path(&digest), |content| content[77] ^= 1);
    let registry = Registry::new(client(&host), reference("a/m:1"), None);
    let mended = mend(&registry, &here, &[digest], &Silent).unwrap();
    assert_eq!((mended.blobs.len(), mended.moved_bytes), (1, 40 << 20));
    verify(&here);
}
