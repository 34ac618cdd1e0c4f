//! A small stored model, and a loader on the driver without a device.

use std::{collections::BTreeMap, path::PathBuf};

use longshore_fake_cuda_driver::{self as fake, Control, Variant};
use longshore_loader_cuda::{CudaWeights, Device, Driver, Loader, LoaderOptions};
use longshore_manifest::{
    Config, Descriptor, Digest, Manifest, Model, ModelName, Store,
    document::{BlobEntry, Facts, Import, Part, Quantization, Role, TensorEntry, TensorTable},
    weights::{OpenOptions, Weights},
};
use longshore_st_format::{Dtype, Layout, Shape, Writer};
use tempfile::TempDir;

/// A stored model in a directory that is removed with it.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) model: Model,
    _dir: TempDir,
}

/// A tensor of a blob: its name, its parts, and its encoding.
#[derive(Clone)]
pub(crate) struct Given {
    name: String,
    dtype: Dtype,
    shape: Vec<u64>,
    code: Option<(&'static str, u32)>,
    parts: Vec<(Role, Dtype, Vec<u64>)>,
    component: Option<String>,
}

impl Given {
    pub(crate) fn plain(name: &str, dtype: Dtype, dims: &[u64]) -> Self {
        let parts = vec![(Role::Weight, dtype, dims.to_vec())];
        Self { name: name.into(), dtype, shape: dims.to_vec(), code: None, parts, component: None }
    }

    /// An int4 tensor in groups of 32, of BF16 values `[.., columns]`.
    pub(crate) fn int4(name: &str, dims: &[u64]) -> Self {
        let last = |columns| {
            let mut dims = dims.to_vec();
            *dims.last_mut().unwrap() = columns;
            dims
        };
        let columns = *dims.last().unwrap();
        let parts = vec![
            (Role::Weight, Dtype::U32, last(columns / 8)),
            (Role::Scale, Dtype::BF16, last(columns / 32)),
            (Role::Bias, Dtype::BF16, last(columns / 32)),
        ];
        let code = Some(("int4", 32));
        Self { name: name.into(), dtype: Dtype::BF16, shape: dims.to_vec(), code, parts, component: None }
    }

    /// A tensor of ggml's blocks of `elements` elements and `bytes` bytes.
    pub(crate) fn blocks(name: &str, code: &'static str, (elements, bytes): (u32, u64), dims: &[u64]) -> Self {
        let mut stored = dims.to_vec();
        let row = stored.last_mut().unwrap();
        *row = *row / u64::from(elements) * bytes;
        let parts = vec![(Role::Weight, Dtype::U8, stored)];
        let code = Some((code, elements));
        Self { name: name.into(), dtype: Dtype::F32, shape: dims.to_vec(), code, parts, component: None }
    }

    pub(crate) fn of(mut self, component: &str) -> Self {
        self.component = Some(component.into());
        self
    }
}

/// A model of a few layers: small and large, plain and quantized tensors, with more bytes than the ring of [`loader`].
pub(crate) fn model() -> Fixture {
    let mut blobs = vec![
        vec![Given::plain("model.embed_tokens.weight", Dtype::BF16, &[300, 64])],
        vec![Given::plain("model.norm.weight", Dtype::F32, &[65])],
        vec![Given::plain("model.position", Dtype::I64, &[3])],
        vec![Given::plain("model.empty", Dtype::F32, &[0, 4])],
    ];
    for layer in 0..3 {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}");
        blobs.push(vec![Given::plain(&name("norm.weight"), Dtype::BF16, &[64])]);
        blobs.push(vec![Given::int4(&name("q_proj.weight"), &[33, 64])]);
        blobs.push(vec![
            Given::int4(&name("mlp.experts.up_proj.weight"), &[4, 32, 64]),
            Given::plain(&name("mlp.experts.up_proj.bias"), Dtype::F32, &[4, 32]),
        ]);
    }
    Fixture::new("demo:tiny", &blobs)
}

impl Fixture {
    pub(crate) fn new(name: &str, blobs: &[Vec<Given>]) -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let model = add(&store, name, blobs, 0);
        Self { store, model, _dir: dir }
    }

    pub(crate) fn blob(&self, tensor: &str) -> PathBuf {
        let table = self.model.config.longshore.as_ref().unwrap();
        let (blob, _) = table.tensors().find(|(_, entry)| entry.name == tensor).unwrap();
        self.store.blob_path(&blob.digest)
    }

    /// Asserts that every array of `weights` has the stored bytes.
    pub(crate) fn assert_same(&self, weights: &CudaWeights) {
        self.assert_same_as(weights, &OpenOptions::default());
    }

    /// Asserts that every array of `weights` has the bytes that opening it with `options` gives.
    pub(crate) fn assert_same_as(&self, weights: &CudaWeights, options: &OpenOptions<'_>) {
        let host = Weights::open(&self.store, &self.model, options).unwrap();
        for (expected, found) in host.iter().zip(weights.iter()) {
            assert_eq!((expected.name(), expected.component()), (found.name(), found.component()));
            assert_eq!((expected.dtype(), expected.shape()), (found.dtype(), found.shape()));
            for role in [Role::Weight, Role::Scale, Role::Bias, Role::GlobalScale] {
                let (expected, found) = (expected.companion(role), found.companion(role));
                assert_eq!(expected.is_some(), found.is_some());
                if let (Some(expected), Some(found)) = (expected, found) {
                    assert_eq!((expected.dtype, expected.shape), (found.dtype, found.shape));
                    assert_eq!(found.address() % 256, 0);
                    assert_eq!(expected.data, found.to_host().unwrap());
                }
            }
        }
        assert_eq!((host.len(), host.bytes()), (weights.len(), weights.bytes()));
    }
}

/// Stores a model. `seed` changes the bytes of its first blob.
pub(crate) fn add(store: &Store, name: &str, blobs: &[Vec<Given>], seed: u32) -> Model {
    let ingest = store.ingest().unwrap();
    let mut layers = Vec::new();
    let mut entries = Vec::new();
    for (index, tensors) in blobs.iter().enumerate() {
        let seed = u32::try_from(index).unwrap() + if index == 0 { 1000 * seed } else { 0 };
        let (bytes, mut entry) = blob(tensors, seed);
        let added = ingest.add(&bytes).unwrap();
        entry.chunks.clone_from(&added.chunks);
        let layer = match &entry.component {
            Some(component) => format!("{component}/{}", tensors[0].name),
            None => tensors[0].name.clone(),
        };
        layers.push(Descriptor::tensor(layer, added));
        entries.push(entry);
    }
    let facts = Facts { experts: Some(4), ..Facts::default() };
    let table = TensorTable::new(facts, Import::default(), entries);
    let config = ingest.add(&Config::new(table).to_bytes()).unwrap();
    let name: ModelName = name.parse().unwrap();
    ingest.commit(&name, &Manifest::new(Descriptor::config(config), layers)).unwrap();
    store.model(&name).unwrap()
}

fn blob(tensors: &[Given], seed: u32) -> (Vec<u8>, BlobEntry) {
    let part_name = |given: &Given, role: Role| format!("{}{}", given.name, role.suffix());
    let arrays = tensors.iter().flat_map(|given| {
        given.parts.iter().map(|(role, dtype, dims)| (part_name(given, *role), *dtype, Shape::new(dims.clone())))
    });
    let layout = Layout::new(&BTreeMap::new(), arrays).unwrap();
    let entries = tensors.iter().map(|given| {
        let place = |role| Part::new(role, layout.get(&part_name(given, role)).unwrap());
        let parts = given.parts.iter().map(|(role, ..)| place(*role)).collect();
        TensorEntry {
            quantization: given
                .code
                .map(|(quant_type, group_size)| Quantization { quant_type: quant_type.into(), group_size }),
            ..TensorEntry::new(&given.name, given.dtype, Shape::new(given.shape.clone()), parts)
        }
    });
    let entries: Vec<_> = entries.collect();
    let len = usize::try_from(layout.file_len() - layout.data_start()).unwrap();
    let mut writer = Writer::new(Vec::new(), layout).unwrap();
    writer.write(&bytes(len, seed)).unwrap();
    let bytes = writer.finish().unwrap();
    let component = tensors[0].component.clone();
    let entry = BlobEntry { component, ..BlobEntry::new(Digest::of(&bytes), entries) };
    (bytes, entry)
}

/// Pseudo-random bytes, which are the same for the same seed.
fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..len).map(|_| next()).collect()
}

/// Takes the driver for one test. A loader on it must be dropped before the control.
pub(crate) fn driver() -> (Control, Driver) {
    let control = Control::take();
    let driver = Driver::open(&fake::library(Variant::Whole)).unwrap();
    (control, driver)
}

/// Options with two threads and two slots of 4 KiB each, so that every slot is reused many times.
pub(crate) fn options() -> LoaderOptions {
    LoaderOptions { slot_bytes: 4096, threads: 2, slots_per_thread: 2, ..Default::default() }
}

pub(crate) fn loader(driver: &Driver) -> Loader {
    Loader::new(&Device::of(driver, 0).unwrap(), &options()).unwrap()
}
