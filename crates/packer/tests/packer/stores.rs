//! Stores for tests, and functions that read them.

use std::{
    collections::BTreeMap,
    fs,
    num::NonZero,
    path::Path,
    sync::atomic::{AtomicI64, Ordering},
};

use longshore_manifest::{
    ModelName, Progress, Silent, Store,
    document::{Role, TensorEntry},
    store::{Model, VerifyOptions},
    weights::{OpenOptions, Weights, plan::Selection},
};
use longshore_packer::{
    Arrangement, ExportError, ExportOptions, ExportOutcome, ImportError, ImportOptions, ImportOutcome, Plan,
    PlannedTensor, Source, export,
};
use longshore_quant::{ErrorMeasure, FloatType};
use longshore_st_format::{Dtype, Shape};

use crate::support::{Dir, chain, plan};

/// Imports `source` under the name `model` with the scheme of this name.
pub(crate) fn import_as(store: &Store, model: &str, source: &Source, scheme: &str) -> ImportOutcome {
    let plan = plan(source, scheme, "default");
    try_import(store, model, &plan, &ImportOptions::default())
        .unwrap_or_else(|error| panic!("{model} {scheme}: {}", chain(&error)))
}

pub(crate) fn try_import(
    store: &Store,
    model: &str,
    plan: &Plan,
    options: &ImportOptions,
) -> Result<ImportOutcome, ImportError> {
    plan.import(store, &name(model), options, &Silent)
}

pub(crate) fn export_to(store: &Store, model: &str, dir: &Path, options: &ExportOptions) -> ExportOutcome {
    try_export(store, model, dir, options).unwrap_or_else(|error| panic!("{model}: {}", chain(&error)))
}

pub(crate) fn try_export(
    store: &Store,
    model: &str,
    dir: &Path,
    options: &ExportOptions,
) -> Result<ExportOutcome, ExportError> {
    export(store, &read(store, model), dir, options, &Silent)
}

pub(crate) fn threads(count: usize) -> ImportOptions {
    ImportOptions { threads: NonZero::new(count), ..ImportOptions::default() }
}

pub(crate) fn dequantize(output: FloatType) -> ExportOptions {
    ExportOptions { dequantize: Some(output), ..ExportOptions::default() }
}

pub(crate) fn store(dir: &Dir) -> Store {
    Store::open(dir.join("store")).expect("the directory is ours")
}

pub(crate) fn name(model: &str) -> ModelName {
    model.parse().expect("tests use valid names")
}

pub(crate) fn read(store: &Store, model: &str) -> Model {
    store.model(&name(model)).expect("it was imported")
}

pub(crate) fn weights(store: &Store, model: &str) -> Weights {
    Weights::open(store, &read(store, model), &OpenOptions::default()).expect("it was imported")
}

/// Checks that everything in the store agrees and that no leftovers lie in it.
pub(crate) fn is_clean(store: &Store) {
    let verified = store.verify(&VerifyOptions::default(), &Silent).expect("the store is ours");
    assert!(verified.bad.is_empty(), "{:?}", verified.bad);
    let temporary = store.root().join("tmp");
    let left = || fs::read_dir(&temporary).expect("the store is ours").count();
    assert!(!temporary.exists() || left() == 0, "temporary files are left");
}

/// Every file below a directory, by its path relative to the directory.
pub(crate) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(at) = left.pop() {
        let Ok(entries) = fs::read_dir(&at) else { continue };
        for path in entries.map(|entry| entry.expect("it is ours").path()) {
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("it lies below").to_string_lossy().into_owned();
                found.insert(name, fs::read(&path).expect("it is ours"));
            }
        }
    }
    found
}

/// A tensor as a reader of the checkpoint sees it: type, shape and bytes.
pub(crate) type Plain = (Dtype, Shape, Vec<u8>);

/// Every tensor of a checkpoint, by name.
pub(crate) fn tensors(source: &Source) -> BTreeMap<String, Plain> {
    let shards: Vec<_> = source.shards.iter().map(|shard| fs::read(&shard.path).expect("it was read before")).collect();
    let bytes = |range: &std::ops::Range<u64>| {
        usize::try_from(range.start).expect("tests are small")..usize::try_from(range.end).expect("tests are small")
    };
    let tensors = source.tensors.iter().map(|tensor| {
        let data = shards[tensor.shard][bytes(&tensor.range)].to_vec();
        (tensor.name.clone(), (tensor.dtype, tensor.shape.clone(), data))
    });
    tensors.collect()
}

/// Every companion file of a checkpoint, by name.
pub(crate) fn companions(source: &Source) -> BTreeMap<String, Vec<u8>> {
    let read = |path: &Path| fs::read(path).expect("it was listed");
    source.companions.iter().map(|file| (file.name.to_string(), read(&file.path))).collect()
}

/// The bytes of a planned tensor before quantization, assembled element by element.
pub(crate) fn by_hand(source: &Source, tensors: &BTreeMap<String, Plain>, planned: &PlannedTensor) -> Vec<u8> {
    let parts = planned.sources().map(|at| tensors[&source.tensors[at].name].2.as_slice());
    let stacked: Vec<u8> = parts.flatten().copied().collect();
    if planned.arrangement != Arrangement::Transpose {
        return stacked;
    }
    let [matrices, rows, columns] = *planned.shape.dims() else { panic!("a transposed tensor has three axes") };
    let size = u64::from(planned.dtype.bits() / 8);
    let mut result = Vec::with_capacity(stacked.len());
    for matrix in 0..matrices {
        for row in 0..rows {
            for column in 0..columns {
                let at = usize::try_from((matrix * rows * columns + column * rows + row) * size).expect("it is small");
                result.extend_from_slice(&stacked[at..at + usize::try_from(size).expect("it is small")]);
            }
        }
    }
    result
}

/// The bytes of a stored part, cut out of the blob's file as the table says.
pub(crate) fn part(store: &Store, model: &Model, tensor: &str, role: Role) -> Vec<u8> {
    let table = model.config.longshore.as_ref().expect("it was imported");
    let (blob, entry): (_, &TensorEntry) =
        table.tensors().find(|(_, entry)| entry.name == tensor).expect("the table has every tensor");
    let part = entry.part(role).expect("the tensor has this part");
    let bytes = fs::read(store.blob_path(&blob.digest)).expect("the blob is there");
    let start = usize::try_from(part.offset).expect("tests are small");
    bytes[start..start + usize::try_from(part.length).expect("tests are small")].to_vec()
}

/// The values of a plain tensor of a component.
pub(crate) fn part_in(store: &Store, model: &Model, component: Option<&str>, tensor: &str) -> Vec<u8> {
    let selection = Selection { component: component.map(str::to_owned), ..Selection::default() };
    let options = OpenOptions { selection, ..OpenOptions::default() };
    let weights = Weights::open(store, model, &options).expect("it was imported");
    weights.get(tensor).expect("the component has it").weight().data.to_vec()
}

pub(crate) fn float(dtype: Dtype) -> FloatType {
    dtype.name().parse().expect("it is one of the three")
}

/// The largest absolute value.
pub(crate) fn max_abs(float: FloatType, bytes: &[u8]) -> f64 {
    let zeros = vec![0; bytes.len()];
    ErrorMeasure::between(float, &zeros, float, bytes).expect("they have one length").max_abs()
}

/// Stops once this number of bytes is done.
pub(crate) struct StopAfter(AtomicI64);

impl StopAfter {
    pub(crate) fn new(bytes: u64) -> Self {
        Self(AtomicI64::new(i64::try_from(bytes).expect("tests are small")))
    }
}

impl Progress for StopAfter {
    fn advance(&self, bytes: u64) {
        self.0.fetch_sub(i64::try_from(bytes).expect("tests are small"), Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= 0
    }
}
