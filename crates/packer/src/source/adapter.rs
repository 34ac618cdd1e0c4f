//! An adapter beside the model that it changes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use longshore_manifest::Digest;
use longshore_model::{MAX_CONFIG_BYTES, ModelConfig};
use longshore_st_format::{Dtype, Limits};
use longshore_transform::adapter::{Adapter, Listed};

use super::{
    checkpoint::Source, companions::Companion, error::SourceError, gguf, inventory::Inventory, merging::SourceAdapter,
};
use crate::{
    attachment::WEIGHTS,
    io::{hash, small},
    tensor::{Shard, SourceTensor},
};

/// The document of an adapter.
pub(super) const CONFIG: &str = "adapter_config.json";

impl Source {
    /// Adds an adapter, which an import merges into the weights before they are quantized: a directory of LoRA or `DoRA` as PEFT and
    /// mlx-lm write it, or a GGUF file of LoRA as llama.cpp has it. What it adds to weights is multiplied by `weight`. Several
    /// adapters add up.
    ///
    /// Reads the adapter's document and the header of its weights, and hashes the weights. Whether it fits is found by
    /// [`Plan::new`](crate::Plan::new); only that a GGUF file is for the source's architecture is found here.
    ///
    /// # Errors
    ///
    /// Returns [`SourceError::AdapterFile`] if `path` is no adapter or cannot be merged, and the errors of reading a file.
    pub fn with_adapter(mut self, path: &Path, weight: f64, limits: &Limits) -> Result<Self, SourceError> {
        let fail = |problem: String, hint| SourceError::AdapterFile { path: path.to_owned(), problem, hint };
        if !weight.is_finite() {
            return Err(fail(format!("its weight is {weight}, expected a finite number"), None));
        }
        let Found { digest, inventory, adapter, .. } = find(path, limits)?;
        let of_base = self.config.as_ref().map(ModelConfig::facts).unwrap_or_default();
        let adapter = adapter.with_base(&of_base).map_err(|error| fail(error.to_string(), error.hint()))?;
        if adapter.has_magnitudes() && weight.to_bits() != 1.0_f64.to_bits() {
            return Err(fail("it holds magnitudes (DoRA), which no weight other than 1 is defined for".into(), None));
        }
        let (first_shard, first) = (self.shards.len(), self.tensors.len());
        self.shards.extend(inventory.shards);
        self.tensors.extend(
            inventory
                .tensors
                .into_iter()
                .map(|tensor| crate::SourceTensor { shard: tensor.shard + first_shard, ..tensor }),
        );
        self.adapters.push(SourceAdapter { path: path.to_owned(), digest, weight, adapter: Arc::new(adapter), first });
        Ok(self)
    }
}

/// The files of an adapter.
pub(super) struct Found {
    /// The file of weights, and its name.
    pub(super) path: PathBuf,
    pub(super) name: &'static str,
    pub(super) digest: Digest,
    pub(super) inventory: Inventory,
    pub(super) adapter: Adapter,
    /// The companion files of an attachment. `None` where they lie in the adapter's directory.
    pub(super) files: Option<Vec<Companion>>,
}

/// Reads the document of an adapter and the header of its weights, and hashes the weights.
pub(super) fn find(path: &Path, limits: &Limits) -> Result<Found, SourceError> {
    if gguf::open::is_gguf(path) && !path.is_dir() { gguf::adapter::find(path) } else { in_directory(path, limits) }
}

fn in_directory(dir: &Path, limits: &Limits) -> Result<Found, SourceError> {
    let fail = |problem: String, hint| SourceError::AdapterFile { path: dir.to_owned(), problem, hint };
    let config = dir.join(CONFIG);
    let document = small::read(&config, MAX_CONFIG_BYTES)
        .map_err(|error| SourceError::of_small_file(error, &config, MAX_CONFIG_BYTES))?;
    let Some(name) = WEIGHTS.into_iter().find(|name| dir.join(name).is_file()) else {
        let is_pickle = dir.join("adapter_model.bin").is_file();
        let hint = is_pickle.then_some("save it as safetensors: PeftModel.save_pretrained(…, safe_serialization=True)");
        return Err(fail(format!("it has no {}", WEIGHTS.join(" and no ")), hint));
    };
    let path = dir.join(name);
    let read = |source| SourceError::Io { path: path.clone(), source };
    let (digest, len) = hash::digest(&path).map_err(read)?;
    let inventory = Inventory::read(vec![Shard::file(path.clone(), name, len).with_digest(digest)], limits)?;
    if inventory.tensors.is_empty() {
        return Err(fail(format!("its {name} has no tensors"), None));
    }
    let is_read = |dtype| matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16);
    if let Some(tensor) = inventory.tensors.iter().find(|tensor| !is_read(tensor.dtype)) {
        return Err(fail(format!("its tensor {:?} is {}, expected F32, F16 or BF16", tensor.name, tensor.dtype), None));
    }
    let adapter = Adapter::read(&document, &listed(&inventory.tensors));
    let adapter = adapter.map_err(|error| fail(error.to_string(), error.hint()))?;
    Ok(Found { path, name, digest, inventory, adapter, files: None })
}

/// The names and shapes of an adapter's tensors.
pub(super) fn listed(tensors: &[SourceTensor]) -> Vec<Listed> {
    tensors.iter().map(|tensor| Listed::new(tensor.name.clone(), tensor.shape.dims())).collect()
}
