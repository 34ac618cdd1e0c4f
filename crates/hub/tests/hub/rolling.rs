//! Disk that a rolling import needs.
#![cfg(unix)]

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use longshore_fake_hosts::{Fault, Host as _};
use longshore_hub::{HubError, PullOptions, pull};
use longshore_manifest::{Progress, Silent, Store, store::GcOptions};
use longshore_packer::{ImportOptions, Plan, PlanOptions, Source, st_format::Limits};
use longshore_st_format::{Dtype, Shape, fixtures};

use crate::support::{checkpoint, files, hub, hub_of, imported, quantized, try_pull};

const SHARDS: usize = 10;

/// Bytes that the files below a directory take of the disk.
pub(crate) fn used(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let of = |path: PathBuf| match path.symlink_metadata() {
        Ok(found) if found.is_dir() => used(&path),
        Ok(found) => found.blocks() * 512,
        // It is gone by now.
        Err(_) => 0,
    };
    entries.map(|entry| of(entry.path())).sum()
}

/// Looks at the disk whenever something has arrived.
pub(crate) struct Watch {
    dir: PathBuf,
    most: AtomicU64,
}

impl Watch {
    pub(crate) fn of(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), most: AtomicU64::new(0) }
    }

    pub(crate) fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

impl Progress for Watch {
    fn advance(&self, _bytes: u64) {
        self.most.fetch_max(used(&self.dir), Ordering::Relaxed);
    }
}

/// Writes a checkpoint of ten shards of four tensors, 4 MiB in all each, and returns the length of the longest.
fn ten_shards(dir: &Path) -> u64 {
    std::fs::create_dir(dir).unwrap();
    std::fs::write(dir.join("config.json"), r#"{"architectures":["LlamaForCausalLM"]}"#).unwrap();
    let mut longest = 0;
    for shard in 0..SHARDS {
        let names = ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", "self_attn.q_proj"];
        let tensor = |name| (format!("model.layers.{shard}.{name}.weight"), Dtype::BF16, Shape::new([512, 1024]));
        let path = dir.join(format!("model-{:05}-of-{SHARDS:05}.safetensors", shard + 1));
        fixtures::write_file(&path, &BTreeMap::new(), &names.map(tensor)).unwrap();
        longest = longest.max(path.metadata().unwrap().len());
    }
    longest
}

#[test]
fn ten_shards_need_the_disk_of_the_result_and_three() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let shard = ten_shards(&source);
    let whole: u64 = files(&source).values().map(|bytes| bytes.len() as u64).sum();
    let host = hub_of(&source);
    for options in [quantized(Some("int4")), PullOptions::default()] {
        let root = dir.path().join(format!("store{}", u8::from(options.plan.scheme.is_some())));
        let store = Store::open(&root).unwrap();
        let watch = Watch::of(&root);
        let name = "tiny:1".parse().unwrap();
        let pulled = pull(&hub(&host), &"hf:acme/tiny".parse().unwrap(), &store, &name, &options, &watch).unwrap();
        assert_eq!(pulled.outcome.digest, imported(&source, &options));
        let (result, most) = (used(&root), watch.most());
        // Headers of all shards, and directories, are small beside a shard.
        assert!(most <= result + 3 * shard + (1 << 20), "{most} with a result of {result} and shards of {shard}");
        assert!(most < result + whole, "it is no more than what an import after a download needs");
    }
}

#[test]
fn a_pull_that_ended_at_half_moves_the_rest_and_no_more_than_a_shard() {
    let dir = tempfile::tempdir().unwrap();
    let (source, other) = (dir.path().join("source"), dir.path().join("other"));
    let shard = ten_shards(&source);
    let host = hub_of(&source);
    let store = Store::open(dir.path().join("store")).unwrap();
    let options = quantized(Some("int4"));
    let sent =
        || -> u64 { host.take_log().iter().filter(|line| line.path.contains("/cdn/")).map(|line| line.sent).sum() };
    // The headers of all come first, up to a mebibyte of each; then five shards, a piece of the sixth, and nothing any more.
    let headers = SHARDS as u64 * (1 << 20);
    host.faults.order_after("GET", "/cdn/", Fault::Cut(1_000_000), 1, SHARDS + 5);
    host.faults.order("GET", "/cdn/", Fault::Unreachable, usize::MAX);
    try_pull(&hub(&host), &store, &options).unwrap_err();
    assert_eq!(store.names().unwrap(), []);
    let arrived = sent() - headers;
    assert!(arrived > 5 * shard && arrived < 6 * shard, "{arrived}");

    checkpoint("llama", &other);
    let plan = Plan::new(Source::open(&other, &Limits::default()).unwrap(), &PlanOptions::default()).unwrap();
    plan.import(&store, &"other:1".parse().unwrap(), &ImportOptions::default(), &Silent).unwrap();
    store.gc(&GcOptions { grace: std::time::Duration::ZERO, ..GcOptions::default() }, &Silent).unwrap();

    host.faults.clear();
    let pulled = try_pull(&hub(&host), &store, &options).unwrap();
    assert_eq!(pulled.outcome.digest, imported(&source, &options));
    let (moved, rest) = (sent() - headers, SHARDS as u64 * shard - arrived);
    assert!(moved <= rest + shard, "{moved} after {arrived}, {rest} left");
}

/// Takes its time with all shards but the first.
struct Slow(AtomicU64);

impl Progress for Slow {
    fn at(&self, what: &str) {
        self.0.store(u64::from(!what.contains("00001-of")), Ordering::Relaxed);
    }

    fn advance(&self, _bytes: u64) {
        if self.0.load(Ordering::Relaxed) > 0 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[test]
fn an_import_that_fails_while_a_shard_arrives_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    ten_shards(&source);
    let first = source.join(format!("model-00001-of-{SHARDS:05}.safetensors"));
    let mut bytes = std::fs::read(&first).unwrap();
    let end = bytes.len();
    // A number that is none.
    bytes[end - 2..].copy_from_slice(&[0xc0, 0x7f]);
    std::fs::write(&first, bytes).unwrap();
    let host = hub_of(&source);
    let store = Store::open(dir.path().join("store")).unwrap();
    let (name, options) = ("tiny:1".parse().unwrap(), quantized(Some("int4")));
    let slow = Slow(AtomicU64::new(0));
    let error = pull(&hub(&host), &"hf:acme/tiny".parse().unwrap(), &store, &name, &options, &slow).unwrap_err();
    assert!(matches!(error, HubError::Import(_)), "{error:?}");
}
