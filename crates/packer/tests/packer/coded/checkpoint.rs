//! Checkpoints that are assembled, imported and exported again.

use std::collections::BTreeMap;

use longshore_manifest::document::{Role, TensorEntry};
use longshore_packer::{ImportOptions, Plan, PlanError, PlanOptions, Source};
use longshore_quant::FloatType;
use longshore_st_format::Dtype;

use super::numbers::from_bf16;
use crate::{
    stores::{dequantize, export_to, is_clean, part, read, store, tensors, threads, try_import},
    support::{Dir, chain, options},
};

/// The files of a checkpoint: a configuration and tensors.
#[derive(Debug, Clone, Default)]
pub(super) struct Checkpoint {
    config: String,
    tensors: Vec<(String, Dtype, Vec<u64>, Vec<u8>)>,
}

impl Checkpoint {
    pub(super) fn new() -> Self {
        Self::with_config("")
    }

    /// Creates a checkpoint with more members in `config.json` than the architecture, such as `"quantization": {…}`.
    pub(super) fn with_config(members: &str) -> Self {
        let comma = if members.is_empty() { "" } else { ", " };
        let config = format!(r#"{{"architectures": ["TestForCausalLM"]{comma}{members}}}"#);
        Self { config, tensors: Vec::new() }
    }

    pub(super) fn of_architecture(architecture: &str) -> Self {
        Self { config: format!(r#"{{"architectures": ["{architecture}"]}}"#), tensors: Vec::new() }
    }

    pub(super) fn add(mut self, name: &str, dtype: Dtype, dims: &[u64], bytes: Vec<u8>) -> Self {
        self.tensors.push((name.to_owned(), dtype, dims.to_vec(), bytes));
        self
    }

    /// Adds a tensor of zeros.
    pub(super) fn zeros(self, name: &str, dtype: Dtype, dims: &[u64]) -> Self {
        let bytes = dims.iter().product::<u64>() * u64::from(dtype.bits()) / 8;
        self.add(name, dtype, dims, vec![0; usize::try_from(bytes).expect("tests are small")])
    }

    pub(super) fn write_to(&self, dir: &Dir, below: &str) {
        dir.file(&format!("{below}config.json"), &self.config);
        let list: Vec<_> = self
            .tensors
            .iter()
            .map(|(name, dtype, dims, bytes)| (name.as_str(), *dtype, dims.as_slice(), bytes.as_slice()))
            .collect();
        dir.bytes(&format!("{below}model.safetensors"), &list);
    }

    pub(super) fn write(&self) -> Dir {
        let dir = Dir::new();
        self.write_to(&dir, "");
        dir
    }

    /// Writes the tensors to two files, those with an odd index to the second.
    pub(super) fn in_shards(&self) -> Dir {
        let dir = Dir::new();
        dir.file("config.json", &self.config);
        for (shard, file) in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"].iter().enumerate()
        {
            let list: Vec<_> = self
                .tensors
                .iter()
                .enumerate()
                .filter(|(at, _)| at % 2 == shard)
                .map(|(_, (name, dtype, dims, bytes))| (name.as_str(), *dtype, dims.as_slice(), bytes.as_slice()))
                .collect();
            dir.bytes(file, &list);
        }
        let files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let map: Vec<_> =
            self.tensors.iter().enumerate().map(|(at, (name, ..))| (name.as_str(), files[at % 2])).collect();
        dir.index(&map);
        dir
    }

    /// Imports without a scheme.
    pub(super) fn import(&self) -> Imported {
        self.import_with(&options("none", "default"))
    }

    /// Imports like `--quantize none`.
    pub(super) fn import_floats(&self) -> Imported {
        self.import_with(&PlanOptions { floats: true, ..options("none", "default") })
    }

    pub(super) fn import_as(&self, scheme: &str, policy: &str) -> Imported {
        self.import_with(&options(scheme, policy))
    }

    pub(super) fn import_with(&self, asked: &PlanOptions) -> Imported {
        Imported::new(&self.write(), asked, false)
    }

    pub(super) fn import_non_finite(&self) -> Imported {
        Imported::new(&self.write(), &options("none", "default"), true)
    }

    /// The error with which the import is refused, and the hint.
    pub(super) fn refusal(&self) -> String {
        self.refusal_of(&options("none", "default"))
    }

    pub(super) fn refusal_of(&self, asked: &PlanOptions) -> String {
        let dir = self.write();
        let source = dir.open().expect("it is a model");
        match Plan::new(source.clone(), asked) {
            Err(error) => format!("{} hint: {}", chain(&error), PlanError::hint(&error).unwrap_or_default()),
            Ok(plan) => {
                let target = Dir::new();
                let error = try_import(&store(&target), "m", &plan, &ImportOptions::default())
                    .expect_err("it should be refused");
                is_clean(&store(&target));
                chain(&error)
            }
        }
    }
}

/// An imported model in its store.
pub(super) struct Imported {
    target: Dir,
    pub(super) plan: Plan,
    pub(super) warnings: Vec<String>,
}

impl Imported {
    /// Imports with one thread and with three threads, and checks that the results are equal.
    pub(super) fn new(dir: &Dir, asked: &PlanOptions, allow_non_finite: bool) -> Self {
        let source = dir.open().unwrap_or_else(|error| panic!("{}", chain(&error)));
        let plan = Plan::new(source.clone(), asked).unwrap_or_else(|error| panic!("{}", chain(&error)));
        let mut digests = Vec::new();
        let mut last = None;
        for count in [1, 3] {
            let target = Dir::new();
            let mut options = threads(count);
            options.allow_non_finite = allow_non_finite;
            let outcome =
                try_import(&store(&target), "m", &plan, &options).unwrap_or_else(|error| panic!("{}", chain(&error)));
            is_clean(&store(&target));
            digests.push(outcome.digest);
            last = Some((target, outcome.warnings));
        }
        assert_eq!(digests[0], digests[1], "the number of threads shows");
        let (target, warnings) = last.expect("it ran twice");
        let warnings = plan.warnings.iter().cloned().chain(warnings).collect();
        Self { target, plan, warnings }
    }

    /// The contents of an export with `--dequantize f32`: dtype, extents and values of every float tensor.
    pub(super) fn exported(&self) -> BTreeMap<String, Values> {
        self.exported_as(FloatType::F32)
    }

    pub(super) fn exported_as(&self, float: FloatType) -> BTreeMap<String, Values> {
        let out = Dir::new();
        export_to(&store(&self.target), "m", &out.join("out"), &dequantize(float));
        values(&crate::support::open(&out.join("out")).expect("an export is a model"))
    }

    /// Like [`Self::exported`], for one component of a pipeline.
    pub(super) fn exported_of(&self, component: &str) -> BTreeMap<String, Values> {
        let out = Dir::new();
        export_to(&store(&self.target), "m", &out.join("out"), &dequantize(FloatType::F32));
        values(&crate::support::open(&out.join("out").join(component)).expect("a component is a model"))
    }

    /// The stored scheme of a tensor, such as `int4-g32`; `none` for plain values.
    pub(super) fn scheme(&self, tensor: &str) -> String {
        let planned = self.plan.blobs.iter().flat_map(|blob| &blob.tensors).find(|planned| planned.name == tensor);
        let planned = planned.unwrap_or_else(|| panic!("no {tensor:?} in {:?}", self.names()));
        planned.scheme.map_or_else(|| "none".to_owned(), |scheme| scheme.to_string())
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.plan.blobs.iter().flat_map(|blob| &blob.tensors).map(|tensor| tensor.name.as_str()).collect()
    }

    pub(super) fn entry(&self, tensor: &str) -> TensorEntry {
        let model = read(&store(&self.target), "m");
        let table = model.config.longshore.as_ref().expect("it was imported");
        let found = table.tensors().find(|(_, entry)| entry.name == tensor);
        found.expect("the table has every tensor").1.clone()
    }

    /// The remarks on the plan.
    pub(super) fn notes(&self) -> &[String] {
        &self.plan.notes
    }

    /// The bytes of a stored part.
    pub(super) fn part(&self, tensor: &str, role: Role) -> Vec<u8> {
        let store = store(&self.target);
        part(&store, &read(&store, "m"), tensor, role)
    }

    /// Checks that an export has exactly these values, bit by bit.
    pub(super) fn has(&self, tensor: &str, dims: &[u64], expected: &[f32]) {
        let exported = self.exported();
        let Some(found) = exported.get(tensor) else { panic!("no {tensor:?} in {:?}", exported.keys()) };
        same(tensor, found, dims, expected);
    }
}

/// Type, extents and values of a tensor.
#[derive(Debug, Clone)]
pub(super) struct Values {
    pub(super) dtype: Dtype,
    pub(super) dims: Vec<u64>,
    pub(super) elements: Vec<f32>,
}

pub(super) fn same(name: &str, found: &Values, dims: &[u64], expected: &[f32]) {
    assert_eq!(found.dims, dims, "{name}");
    assert_eq!(found.elements.len(), expected.len(), "{name}");
    for (at, (found, expected)) in found.elements.iter().zip(expected).enumerate() {
        assert_eq!(found.to_bits(), expected.to_bits(), "{name} at {at}: {found}, expected {expected}");
    }
}

/// The float tensors of a checkpoint, by name.
pub(super) fn values(source: &Source) -> BTreeMap<String, Values> {
    let widen = |dtype: Dtype, bytes: &[u8]| -> Option<Vec<f32>> {
        match dtype {
            Dtype::F32 => Some(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
            Dtype::BF16 => Some(bytes.chunks_exact(2).map(|b| from_bf16(u16::from_le_bytes([b[0], b[1]]))).collect()),
            _ => None,
        }
    };
    let tensors = tensors(source).into_iter().filter_map(|(name, (dtype, shape, bytes))| {
        Some((name, Values { dtype, dims: shape.dims().to_vec(), elements: widen(dtype, &bytes)? }))
    });
    tensors.collect()
}
