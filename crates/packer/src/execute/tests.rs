//! Tests with a source that has no files and a sink that is no store.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
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
