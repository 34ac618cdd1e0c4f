//! A pull is an import of the same files.

use longshore_fake_hosts::{Fault, Host as _};
use longshore_hub::HubError;
use longshore_manifest::{Silent, Store, store::GcOptions};

use crate::support::{checkpoint, files, hub, hub_of, hub_with_token, imported, including, quantized, try_pull};

#[test]
fn every_kind_of_checkpoint_becomes_what_an_import_makes_of_it() {
    for name in longshore_st_format::fixtures::models() {
        for scheme in [None, Some("int4")] {
            let dir = tempfile::tempdir().unwrap();
            let source = dir.path().join("source");
            checkpoint(name, &source);
            let options = quantized(scheme);
            let import = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| imported(&source, &options)));
            let Ok(expected) = import else { continue };
            let host = hub_of(&source);
            let store = Store::open(dir.path().join("store")).unwrap();
            let pulled =
                try_pull(&hub(&host), &store, &options).unwrap_or_else(|error| panic!("{name} {scheme:?}: {error:?}"));
            assert_eq!(pulled.outcome.digest, expected, "{name} {scheme:?}");
            assert!(store.pulls().unwrap().is_empty(), "{name}");
        }
    }
}

#[test]
fn every_request_names_the_commit_and_the_token_stays() {
    let dir = tempfile::tempdir().unwrap();
    checkpoint("qwen3-moe", &dir.path().join("source"));
    let mut host = longshore_fake_hosts::FakeHub::new("acme/tiny", files(&dir.path().join("source")));
    host.token = Some("hf_secret".into());
    host.page = 2;
    let commit = host.commit();
    let host = std::sync::Arc::new(host);
    let store = Store::open(dir.path().join("store")).unwrap();
    let error = try_pull(&hub(&host), &store, &quantized(None)).unwrap_err();
    assert!(matches!(error, HubError::NotFound { .. }), "{error:?}");
    host.take_log();
    let pulled = try_pull(&hub_with_token(&host, "hf_secret"), &store, &quantized(None)).unwrap();
    assert_eq!(pulled.commit, commit);
    let log = host.take_log();
    assert!(log.iter().any(|line| line.path.contains("/cdn/")));
    for line in &log {
        let is_cdn = line.path.starts_with("/cdn/");
        assert_eq!(line.authorization.is_some(), !is_cdn, "{line:?}");
        assert!(is_cdn || line.path.contains(&commit) || line.path.ends_with("revision/main"), "{line:?}");
    }
}

#[test]
fn an_interrupted_pull_goes_on_after_another_import_and_a_gc() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    checkpoint("qwen3-moe", &source);
    let options = quantized(Some("int4"));
    let expected = imported(&source, &options);
    let host = hub_of(&source);
    let whole: u64 = files(&source).values().map(|bytes| bytes.len() as u64).sum();
    let shards = files(&source).keys().filter(|name| name.ends_with(".safetensors")).count();
    assert!(shards >= 2);
    let store = Store::open(dir.path().join("store")).unwrap();
    // Headers come, and the first shard; the second is cut, and then nothing comes any more.
    host.faults.order_after("GET", "/cdn/", Fault::Cut(3000), 1, shards + 1);
    host.faults.order("GET", "/cdn/", Fault::Unreachable, usize::MAX);
    try_pull(&hub(&host), &store, &options).unwrap_err();
    assert_eq!(store.names().unwrap(), []);
    let kept = store.pulls().unwrap();
    assert_eq!(kept.len(), 1);
    assert!(!kept[0].is_running && kept[0].record.reference == "hf:acme/tiny@main", "{kept:?}");

    let other = dir.path().join("other");
    checkpoint("llama", &other);
    let other_source = longshore_packer::Source::open(&other, &longshore_packer::st_format::Limits::default()).unwrap();
    let plan = longshore_packer::Plan::new(other_source, &longshore_packer::PlanOptions::default()).unwrap();
    plan.import(&store, &"other:1".parse().unwrap(), &longshore_packer::ImportOptions::default(), &Silent).unwrap();
    store.gc(&GcOptions { grace: std::time::Duration::ZERO, ..GcOptions::default() }, &Silent).unwrap();

    host.faults.clear();
    host.take_log();
    let pulled = try_pull(&hub(&host), &store, &options).unwrap();
    assert_eq!(pulled.outcome.digest, expected);
    let moved: u64 = host.take_log().iter().filter(|line| line.path.contains("/cdn/")).map(|line| line.sent).sum();
    assert!(moved < whole * 2, "{moved} of {whole}");
    assert!(store.pulls().unwrap().is_empty());
    store.remove(&"tiny:1".parse().unwrap()).unwrap();
    store.remove(&"other:1".parse().unwrap()).unwrap();
    assert_eq!(std::fs::read_dir(store.root().join("blobs")).unwrap().count(), 0);
}

#[test]
fn one_of_several_gguf_files_has_to_be_meant() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    std::fs::create_dir_all(&source).unwrap();
    std::fs::write(source.join("a-Q4_K_M.gguf"), b"GGUF").unwrap();
    std::fs::write(source.join("a-Q8_0.gguf"), b"GGUF").unwrap();
    let host = hub_of(&source);
    let store = Store::open(dir.path().join("store")).unwrap();
    let error = try_pull(&hub(&host), &store, &quantized(None)).unwrap_err();
    assert!(matches!(&error, HubError::Ambiguous { choices, .. } if choices.len() == 2), "{error:?}");
    // Then that one is opened, which is none.
    let error = try_pull(&hub(&host), &store, &including(&["*Q8_0*"])).unwrap_err();
    assert!(matches!(error, HubError::Source(_)), "{error:?}");
}
