//! Checkpoints on disk for tests.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use longshore_packer::{Plan, PlanOptions, Source, SourceError};
use longshore_quant::policy::Policy;
use longshore_st_format::{Dtype, Layout, Limits, Shape, fixtures};
use tempfile::TempDir;

/// A directory that is removed at the end of the test.
pub(crate) struct Dir(TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("the system has room for temporary files"))
    }

    /// A directory with a `config.json` and one weight file.
    pub(crate) fn model(tensors: &[(&str, &[u64])]) -> Self {
        let dir = Self::new();
        dir.file("config.json", r#"{"architectures": ["TestForCausalLM"]}"#);
        dir.weights("model.safetensors", tensors);
        dir
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file, and the directories above it.
    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.join(name);
        fs::create_dir_all(path.parent().expect("it has a parent")).expect("the directory is ours");
        fs::write(path, contents).expect("the directory is ours");
    }

    /// Writes a weight file of BF16 tensors.
    pub(crate) fn weights(&self, name: &str, tensors: &[(&str, &[u64])]) {
        let tensors: Vec<_> = tensors.iter().map(|(name, dims)| (*name, Dtype::BF16, *dims)).collect();
        self.typed_weights(name, &tensors);
    }

    pub(crate) fn typed_weights(&self, name: &str, tensors: &[(&str, Dtype, &[u64])]) {
        let list: Vec<_> =
            tensors.iter().map(|(name, dtype, dims)| ((*name).to_owned(), *dtype, Shape::from(*dims))).collect();
        fixtures::write_file(self.join(name), &BTreeMap::new(), &list).expect("the directory is ours");
    }

    /// Writes a weight file of tensors with the given bytes.
    pub(crate) fn bytes(&self, name: &str, tensors: &[(&str, Dtype, &[u64], &[u8])]) {
        let parts = tensors.iter().map(|(name, dtype, dims, _)| (*name, *dtype, Shape::from(*dims)));
        let layout = Layout::new(&BTreeMap::new(), parts).expect("tests name tensors once");
        let mut file = layout.header().to_vec();
        for part in layout.parts() {
            let (.., bytes) = tensors.iter().find(|(name, ..)| *name == part.name).expect("the layout has no others");
            assert_eq!(bytes.len() as u64, part.range.end - part.range.start, "{}", part.name);
            file.extend_from_slice(bytes);
        }
        self.file(name, file);
    }

    /// Writes the shard index.
    pub(crate) fn index(&self, entries: &[(&str, &str)]) {
        let map: BTreeMap<_, _> = entries.iter().copied().collect();
        let document = serde_json::json!({"metadata": {}, "weight_map": map});
        self.file("model.safetensors.index.json", document.to_string());
    }

    pub(crate) fn open(&self) -> Result<Source, SourceError> {
        open(self.path())
    }
}

pub(crate) fn open(path: &Path) -> Result<Source, SourceError> {
    Source::open(path, &Limits::default())
}

/// Plans with a scheme and a policy by their names. `none` stands for no scheme.
pub(crate) fn plan(source: &Source, scheme: &str, policy: &str) -> Plan {
    let options = options(scheme, policy);
    Plan::new(source.clone(), &options).unwrap_or_else(|error| panic!("{scheme} {policy}: {}", chain(&error)))
}

pub(crate) fn options(scheme: &str, policy: &str) -> PlanOptions {
    let scheme = (scheme != "none").then(|| scheme.parse().expect("tests name schemes that exist"));
    let policy = Policy::named(policy).expect("tests name policies that exist");
    PlanOptions { scheme, policy, ..PlanOptions::default() }
}

/// An error and its causes, as one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

/// Names of the fixtures that are float checkpoints in a directory of their own.
pub(crate) const FLOAT_MODELS: &[&str] =
    &["deepseek-v3", "gemma3-text", "gpt-oss", "llama", "mixtral", "nemotron-h", "qwen3-moe", "qwen3-next"];

/// Writes the fixture with this name to a new directory.
pub(crate) fn fixture(name: &str) -> Dir {
    let dir = Dir::new();
    fixtures::model(name).write(dir.path()).expect("the directory is ours");
    dir
}
