//! Damaged blobs, had again from a registry.

use longshore_fake_hosts::Host as _;
use longshore_manifest::Silent;
use longshore_registry::{Registry, mend};

use crate::support::{client, import, name, reference, registry, store, try_push, verify};

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
    let other = [longshore_manifest::Digest::of(b"another model's")];
    assert!(mend(&registry, &here, &other, &Silent).unwrap().blobs.is_empty());
}
