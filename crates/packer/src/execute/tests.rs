//! Tests with a source that has no files and a sink that is no store.

use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use longshore_manifest::{
    Digest, FsError, Manifest, ModelName, RelativePath, Silent,
    store::{Added, Committed, IngestError},
};
use longshore_model::ModelConfig;
use longshore_st_format::{Dtype, Layout, Limits, SafeTensors, Shape};

use super::{
    options::ImportOptions,
    sink::{Sink, SinkBlob, SinkImport},
};
use crate::{
    plan::{options::PlanOptions, planned::Plan},
    source::{checkpoint::Source, companions::Companion, inventory::Inventory},
    tensor::Shard,
};

const CONFIG: &[u8] = br#"{"architectures": ["LlamaForCausalLM"], "num_experts": 2}"#;

/// A sink that keeps blobs and manifests in memory.
#[derive(Debug, Default)]
struct Memory {
    blobs: Mutex<BTreeMap<Digest, Vec<u8>>>,
    models: Mutex<BTreeMap<String, Manifest>>,
    /// Number of blobs that were to be hashed on threads of their own.
    aside: AtomicUsize,
}

struct MemoryBlob<'m> {
    memory: &'m Memory,
    bytes: Vec<u8>,
}

impl Sink for Memory {
    fn check_name(&self, _: &ModelName) -> Result<(), IngestError> {
        Ok(())
    }

    fn begin(&self) -> Result<Box<dyn SinkImport + '_>, IngestError> {
        Ok(Box::new(self))
    }
}

impl SinkImport for &Memory {
    fn blob(&self, _: &str, size: u64) -> Result<Box<dyn SinkBlob + '_>, FsError> {
        let bytes = vec![0; usize::try_from(size).expect("the test is small")];
        Ok(Box::new(MemoryBlob { memory: self, bytes }))
    }

    fn commit(self: Box<Self>, name: &ModelName, manifest: &Manifest) -> Result<Committed, IngestError> {
        let digest = Digest::of(&manifest.to_bytes());
        self.models.lock().expect("no test panics").insert(name.to_string(), manifest.clone());
        Ok(Committed::new(digest))
    }
}

impl SinkBlob for MemoryBlob<'_> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FsError> {
        let start = usize::try_from(offset).expect("the test is small");
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn hash_aside(&mut self) -> bool {
        self.memory.aside.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn finish(self: Box<Self>) -> Result<Added, FsError> {
        let added = Added::new(Digest::of(&self.bytes), self.bytes.len() as u64);
        self.memory.blobs.lock().expect("no test panics").insert(added.digest, self.bytes);
        Ok(added)
    }
}

/// A source with two shards in memory, each with one expert.
fn source() -> Source {
    let shard = |expert: u8| {
        let name = format!("model.layers.0.mlp.experts.{expert}.up_proj.weight");
        let layout =
            Layout::new(&BTreeMap::new(), [(name, Dtype::BF16, Shape::new([2, 64]))]).expect("it is one tensor");
        let mut bytes = layout.header().to_vec();
        bytes.resize(bytes.len() + 256, expert + 0x3f);
        Shard::new(format!("{expert}.safetensors"), bytes.len() as u64, Arc::new(Arc::<[u8]>::from(bytes)))
    };
    let inventory = Inventory::read(vec![shard(0), shard(1)], &Limits::default()).expect("they are safetensors");
    let config = RelativePath::parse("config.json").expect("it is a path");
    let companion = Companion::new(config, CONFIG.len() as u64, Arc::new(Arc::<[u8]>::from(CONFIG)));
    let config = ModelConfig::parse(CONFIG).expect("it is an object");
    Source::new("memory", inventory, vec![companion], Some(config)).expect("it has tensors")
}

#[test]
fn a_source_in_memory_is_imported_into_memory() {
    let plan = Plan::new(source(), &PlanOptions::default()).expect("it can be planned");
    let memory = Memory::default();
    let name: ModelName = "tiny".parse().expect("it is a name");
    let outcome = plan.import(&memory, &name, &ImportOptions::default(), &Silent).expect("it can be imported");

    let models = memory.models.into_inner().expect("no test panics");
    let manifest = &models[&name.to_string()];
    assert_eq!(Digest::of(&manifest.to_bytes()), outcome.digest);
    let blobs = memory.blobs.into_inner().expect("no test panics");
    assert!(manifest.blobs().all(|layer| blobs[&layer.digest].len() as u64 == layer.size));
    let (_, layer) = manifest.files().next().expect("there is one companion");
    assert_eq!(blobs[&layer.digest], CONFIG);

    let stacked = SafeTensors::new(&*blobs[&manifest.layers[0].digest]).expect("it is a blob");
    let tensor = stacked.tensor("model.layers.0.mlp.experts.up_proj.weight").expect("the experts are stacked");
    assert_eq!(tensor.shape.dims(), [2, 2, 64]);
    assert_eq!(tensor.data, [vec![0x3f; 256], vec![0x40; 256]].concat());
}

/// A source of so many tensors of this length in bytes, and no other file.
fn plain(tensors: usize, len: u64) -> Source {
    let names = (0..tensors).map(|at| (format!("{at}.weight"), Dtype::U8, Shape::new([len])));
    let layout = Layout::new(&BTreeMap::new(), names).expect("they have names of their own");
    let mut bytes = layout.header().to_vec();
    bytes.resize(usize::try_from(layout.file_len()).expect("it is small"), 7);
    let shard = Shard::new("plain.safetensors", bytes.len() as u64, Arc::new(Arc::<[u8]>::from(bytes)));
    let inventory = Inventory::read(vec![shard], &Limits::default()).expect("it is safetensors");
    Source::new("memory", inventory, Vec::new(), None).expect("it has tensors")
}

#[test]
fn a_thread_without_a_blob_hashes_a_large_one() {
    let large = 5 << 20;
    // Threads beyond the tensors have nothing else to do. Those that are done with theirs may help too, or not.
    for (tensors, len, threads, expected) in
        [(1, large, 1, 0..=0), (1, large, 2, 1..=1), (1, large, 3, 1..=1), (1, 1000, 2, 0..=0), (2, large, 3, 1..=2)]
    {
        let plan = Plan::new(plain(tensors, len), &PlanOptions::default()).expect("it can be planned");
        let (memory, name) = (Memory::default(), "tiny".parse().expect("it is a name"));
        let options = ImportOptions { threads: NonZero::new(threads), ..ImportOptions::default() };
        plan.import(&memory, &name, &options, &Silent).expect("it can be imported");
        let found = memory.aside.load(Ordering::Relaxed);
        assert!(expected.contains(&found), "{tensors} of {len} bytes, {threads} threads: {found}");
    }
}

#[test]
fn data_that_shrinks_is_an_error() {
    let mut source = source();
    source.shards[1].data = Arc::new(Arc::<[u8]>::from(vec![0; 10]));
    let plan = Plan::new(source, &PlanOptions::default()).expect("planning reads nothing");
    let memory = Memory::default();
    let name = "tiny".parse().expect("it is a name");
    let error = plan.import(&memory, &name, &ImportOptions::default(), &Silent).expect_err("a shard is cut off");
    assert!(error.to_string().contains("1.safetensors") && error.to_string().contains("10 bytes"), "{error}");
    assert!(memory.models.into_inner().expect("no test panics").is_empty());
}
