//! The hub's own cache: read, and never written.

use std::{collections::BTreeMap, path::Path};

use longshore_fake_hosts::{Host as _, sha256};
use longshore_hub::{Hub, HubError, HubOptions, PullOptions, Remote, Selection};
use longshore_manifest::{Silent, Store};

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

#[test]
fn a_cache_that_lacks_a_file_is_another_source() {
    let dir = tempfile::tempdir().unwrap();
    let (source, cached) = (dir.path().join("source"), dir.path().join("cache"));
    checkpoint("llama", &source);
    std::fs::write(source.join("notes.json"), b"{}").unwrap();
    let host = hub_of(&source);
    let commit = "0123456789012345678901234567890123456789";
    cache(&source, &cached, commit);
    let snapshot = cached.join("models--acme--tiny/snapshots").join(commit);
    let key = || {
        let hub = with_cache(&host, &cached, true);
        Remote::of(&hub, &"hf:acme/tiny".parse().unwrap(), &quantized(None), &Silent).unwrap().made.key
    };
    let whole = key();
    // No pull brings this one.
    std::fs::write(snapshot.join(".gitattributes"), b"*.safetensors").unwrap();
    assert_eq!(key(), whole);
    std::fs::remove_file(snapshot.join("notes.json")).unwrap();
    assert_ne!(key(), whole);
}

#[test]
fn offline_files_are_checked_and_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let (source, cached) = (dir.path().join("source"), dir.path().join("cache"));
    checkpoint("llama", &source);
    let expected = imported(&source, &quantized(None));
    std::fs::copy(source.join("config.json"), source.join("other.json")).unwrap();
    std::fs::write(source.join("model.fp16.safetensors"), b"no weights").unwrap();
    let host = hub_of(&source);
    let commit = "0123456789012345678901234567890123456789";
    cache(&source, &cached, commit);
    // A file that Git keeps is named as Git names it.
    let repository = cached.join("models--acme--tiny");
    let text = std::fs::read(source.join("config.json")).unwrap();
    let blob = repository.join("blobs").join(git_oid(&text));
    std::fs::write(&blob, &text).unwrap();
    let link = repository.join("snapshots").join(commit).join("config.json");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&blob, &link).unwrap();

    let chosen = |name: &str| {
        let store = Store::open(dir.path().join(name)).unwrap();
        let exclude = ["other.json".to_owned(), "*.fp16.*".to_owned()];
        let options = PullOptions { selection: Selection::new(&[], &exclude).unwrap(), ..PullOptions::default() };
        let pulled = try_pull(&with_cache(&host, &cached, true), &store, &options);
        assert!(pulled.is_err() || store.pulls().unwrap().is_empty());
        pulled
    };
    assert_eq!(chosen("chosen").unwrap().outcome.digest, expected);
    // Damage of either kind is found.
    for blob in [blob, repository.join("blobs").join(sha256(&std::fs::read(weights(&source)).unwrap()))] {
        let right = std::fs::read(&blob).unwrap();
        let mut damaged = right.clone();
        *damaged.last_mut().unwrap() ^= 1;
        std::fs::write(&blob, &damaged).unwrap();
        let error = chosen("damaged").unwrap_err();
        assert!(matches!(&error, HubError::Cached { path, .. } if *path == blob), "{error:?}");
        std::fs::write(&blob, &right).unwrap();
    }
    std::fs::write(repository.join("blobs").join(git_oid(&text)), &text[1..]).unwrap();
    let store = Store::open(dir.path().join("all")).unwrap();
    let error = try_pull(&with_cache(&host, &cached, true), &store, &quantized(None)).unwrap_err();
    assert!(matches!(error, HubError::Cached { .. }), "{error:?}");
}

/// A weight file of a directory.
fn weights(source: &Path) -> std::path::PathBuf {
    let names = files(source).into_keys();
    let mut names = names.filter(|name| name.ends_with(".safetensors") && !name.contains("fp16"));
    source.join(names.next().unwrap())
}

/// Git's name of a file.
fn git_oid(bytes: &[u8]) -> String {
    use sha1::Digest as _;
    let mut hasher = sha1::Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hasher.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
