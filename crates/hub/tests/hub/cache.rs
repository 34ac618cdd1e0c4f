//! The hub's own cache: read, and never written.

use std::{collections::BTreeMap, path::Path};

use longshore_fake_hosts::{Host as _, sha256};
use longshore_hub::{Hub, HubError, HubOptions};
use longshore_manifest::Store;

use crate::support::{checkpoint, client, files, hub_of, imported, options, quantized, try_pull};

/// Writes a cache as the hub's client does, with the weight files of a directory.
fn cache(source: &Path, cache: &Path, commit: &str) {
    let repository = cache.join("models--acme--tiny");
    let snapshot = repository.join("snapshots").join(commit);
    std::fs::create_dir_all(repository.join("blobs")).unwrap();
    std::fs::create_dir_all(repository.join("refs")).unwrap();
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::write(repository.join("refs/main"), commit).unwrap();
    for (name, bytes) in files(source) {
        let blob = repository.join("blobs").join(sha256(&bytes));
        std::fs::write(&blob, &bytes).unwrap();
        std::os::unix::fs::symlink(&blob, snapshot.join(&name)).unwrap();
    }
}

fn with_cache(host: &std::sync::Arc<longshore_fake_hosts::FakeHub>, dir: &Path, offline: bool) -> Hub {
    Hub::new(&client(host), HubOptions { cache: Some(dir.to_path_buf()), offline, ..options() })
}

#[test]
fn what_the_cache_has_is_not_fetched_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (source, cached) = (dir.path().join("source"), dir.path().join("cache"));
    checkpoint("qwen3-moe", &source);
    let host = hub_of(&source);
    cache(&source, &cached, &host.commit());
    // One of its files is damaged, which is found.
    let shard = files(&source).into_iter().find(|(name, _)| name.ends_with(".safetensors")).unwrap();
    let blob = cached.join("models--acme--tiny/blobs").join(sha256(&shard.1));
    let mut damaged = shard.1.clone();
    damaged[9000] ^= 1;
    std::fs::write(&blob, &damaged).unwrap();
    let before: BTreeMap<String, Vec<u8>> = files(&cached);
    let store = Store::open(dir.path().join("store")).unwrap();
    let options = quantized(Some("int4"));
    let pulled = try_pull(&with_cache(&host, &cached, false), &store, &options).unwrap();
    assert_eq!(pulled.outcome.digest, imported(&source, &options));
    assert_eq!(files(&cached), before);
    let log = host.take_log();
    let fetched: Vec<_> = log.iter().filter(|line| line.path.contains("/cdn/")).collect();
    assert!(!fetched.is_empty() && fetched.iter().all(|line| line.path.ends_with(&sha256(&shard.1))), "{fetched:?}");
}

#[test]
fn offline_only_the_cache_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (source, cached) = (dir.path().join("source"), dir.path().join("cache"));
    checkpoint("llama", &source);
    let host = hub_of(&source);
    let store = Store::open(dir.path().join("store")).unwrap();
    let options = quantized(None);
    let error = try_pull(&with_cache(&host, &cached, true), &store, &options).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error:?}");
    cache(&source, &cached, "0123456789012345678901234567890123456789");
    let pulled = try_pull(&with_cache(&host, &cached, true), &store, &options).unwrap();
    assert_eq!((pulled.outcome.digest, pulled.moved_bytes), (imported(&source, &options), 0));
    assert!(host.take_log().is_empty());
}
