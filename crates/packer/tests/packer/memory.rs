//! Memory is bounded by the number of threads, not by the largest tensor.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use longshore_manifest::{Progress, Store};
use longshore_packer::{ExportOptions, Source, export};
use longshore_quant::FloatType;
use longshore_st_format::Dtype;

use crate::{
    stores::{name, read, threads},
    support::{Dir, open, plan},
};

/// Environment variable that names the directory for the measured process.
const VARIABLE: &str = "LONGSHORE_TEST_MEMORY";
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const BOUND: u64 = 32 * MIB;

#[test]
fn large_tensors_need_little() {
    let path = concat!(module_path!(), "::large_tensors_need_little");
    alone(path, measure, |dir| {
        dir.file("plain/config.json", "{}");
        dir.typed_weights("plain/model.safetensors", &[("large.weight", Dtype::F32, &[128, 256 * 1024])]);
        // Rows of 4 MiB, and columns of the same length in the source.
        dir.file("transposed/config.json", r#"{"architectures": ["GptOssForCausalLM"]}"#);
        let experts: [(&str, Dtype, &[u64]); 2] = [
            ("l.mlp.experts.down_proj", Dtype::BF16, &[1, 2 << 20, 16]),
            ("l.mlp.experts.gate_up_proj", Dtype::BF16, &[1, 64, 512 << 10]),
        ];
        dir.typed_weights("transposed/model.safetensors", &experts);
    });
}

/// Runs `measure` in a process of its own, where the system reports the memory of a process. `path` is that of the test that calls
/// this, which the process runs alone; `prepare` fills the directory that `measure` gets.
pub(crate) fn alone(path: &str, measure: impl FnOnce(&Path), prepare: impl FnOnce(&Dir)) {
    if let Some(dir) = std::env::var_os(VARIABLE) {
        return measure(Path::new(&dir));
    }
    if private_bytes().is_none() {
        // Only Linux reports the memory of a process.
        return;
    }
    let dir = Dir::new();
    prepare(&dir);
    let (_, own_name) = path.split_once("::").expect("the crate comes first");
    let output = Command::new(std::env::current_exe().expect("a test runs from a file"))
        .args(["--exact", own_name, "--nocapture"])
        .env(VARIABLE, dir.path())
        .output()
        .expect("the test can be run again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

fn measure(dir: &Path) {
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    for checkpoint in ["plain", "transposed"] {
        let source = open(&dir.join(checkpoint)).expect("it is a model");
        for scheme in ["none", "int4"] {
            import_and_export(&store, &source, scheme, &dir.join(format!("{checkpoint}-{scheme}")));
        }
    }
}

fn import_and_export(store: &Store, source: &Source, scheme: &str, out: &Path) {
    let plan = plan(source, scheme, "uniform");
    assert!(plan.blobs.iter().any(|blob| blob.source_len() >= 64 * MIB));
    assert_eq!(plan.blobs.iter().any(|blob| blob.scheme.is_some()), scheme != "none");
    let options = threads(2);
    let peak = Peak::new();
    plan.import(store, &name("m"), &options, &peak).expect("it can be imported");
    assert!(peak.above() < BOUND, "{} bytes to import {scheme}", peak.above());

    let model = read(store, "m");
    let options = ExportOptions {
        threads: std::num::NonZero::new(2),
        dequantize: Some(FloatType::BF16),
        ..ExportOptions::default()
    };
    let peak = Peak::new();
    export(store, &model, out, &options, &peak).expect("it can be exported");
    assert!(peak.above() < BOUND, "{} bytes to export {scheme}", peak.above());
    fs::remove_dir_all(out).expect("it is ours");
}

/// Measures memory after every chunk, while all buffers of the reporting thread are in use.
pub(crate) struct Peak {
    before: u64,
    highest: AtomicU64,
}

impl Peak {
    pub(crate) fn new() -> Self {
        let before = private_bytes().expect("the test was started where this is known");
        Self { before, highest: AtomicU64::new(before) }
    }

    pub(crate) fn above(&self) -> u64 {
        self.highest.load(Ordering::Relaxed) - self.before
    }
}

impl Progress for Peak {
    fn advance(&self, _: u64) {
        self.highest.fetch_max(private_bytes().unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Memory of this process in bytes that is not backed by a file.
pub(crate) fn private_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
