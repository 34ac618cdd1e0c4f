//! Models in stores.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use longshore_loader_mlx::MlxWeights;
use longshore_manifest::{Model, ModelName, Silent, Store, weights::plan::Selection};
use longshore_packer::{ImportOptions, Plan, PlanOptions, Source};
use longshore_quant::policy::Policy;
use longshore_st_format::{Dtype, Layout, Limits, Shape, fixtures};
use tempfile::TempDir;

/// One scheme of each kind.
#[cfg(any(target_os = "macos", longshore_mlx))]
pub(crate) const SCHEMES: [&str; 5] = ["int4", "int8", "nvfp4", "mxfp4", "mxfp8"];

pub(crate) struct Dir(TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a safetensors file of these bytes.
    pub(crate) fn write(
        &self,
        name: &str,
        metadata: &[(&str, &str)],
        tensors: &[(&str, Dtype, &[u64], &[u8])],
    ) -> PathBuf {
        let metadata = metadata.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let parts = tensors.iter().map(|(name, dtype, dims, _)| (*name, *dtype, Shape::from(*dims)));
        let layout = Layout::new(&metadata, parts).unwrap();
        let mut file = layout.header().to_vec();
        for part in layout.parts() {
            let (.., bytes) = tensors.iter().find(|(name, ..)| *name == part.name).unwrap();
            file.extend_from_slice(bytes);
        }
        fs::write(self.join(name), file).unwrap();
        self.join(name)
    }

    /// Writes a safetensors file of made-up values.
    pub(crate) fn fill(&self, name: &str, tensors: &[(&str, Dtype, &[u64])]) -> PathBuf {
        let tensors: Vec<_> =
            tensors.iter().map(|(name, dtype, dims)| ((*name).to_owned(), *dtype, Shape::from(*dims))).collect();
        fixtures::write_file(self.join(name), &BTreeMap::new(), &tensors).unwrap();
        self.join(name)
    }
}

/// A store with models of made-up values.
pub(crate) struct Stored {
    _dir: Dir,
    pub(crate) store: Store,
}

impl Stored {
    pub(crate) fn new() -> Self {
        let dir = Dir::new();
        let store = Store::open(dir.join("store")).unwrap();
        Self { _dir: dir, store }
    }

    /// Imports a checkpoint of the fixtures with a scheme by its name; `none` is no scheme.
    pub(crate) fn import(&self, model: &str, scheme: &str) -> Model {
        self.import_with(model, |policy| {
            let scheme = (scheme != "none").then(|| scheme.parse().unwrap());
            PlanOptions { scheme, policy, requantize: scheme.is_some(), ..PlanOptions::default() }
        })
    }

    pub(crate) fn import_with(&self, model: &str, options: impl FnOnce(Policy) -> PlanOptions) -> Model {
        let dir = Dir::new();
        fixtures::model(model).write(dir.path()).unwrap();
        self.import_dir(&dir, &options(Policy::named("default").unwrap()))
    }

    pub(crate) fn import_dir(&self, dir: &Dir, options: &PlanOptions) -> Model {
        let source = Source::open(dir.path(), &Limits::default()).unwrap();
        let plan = Plan::new(source, options).unwrap_or_else(|error| panic!("{}", chain(&error)));
        let name: ModelName = "m".parse().unwrap();
        let how = ImportOptions { allow_non_finite: true, ..ImportOptions::default() };
        plan.import(&self.store, &name, &how, &Silent).unwrap_or_else(|error| panic!("{}", chain(&error)));
        self.store.model(&name).unwrap()
    }

    pub(crate) fn open(&self, model: &Model) -> MlxWeights {
        MlxWeights::open(&self.store, model, &Selection::default()).unwrap_or_else(|error| panic!("{}", chain(&error)))
    }
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
