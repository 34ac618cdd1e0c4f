//! An adapter beside the model that it changes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use longshore_manifest::Digest;
use longshore_model::MAX_CONFIG_BYTES;
use longshore_st_format::{Dtype, Limits};
use longshore_transform::adapter::{Adapter, Listed};

use super::{checkpoint::Source, error::SourceError, inventory::Inventory, merging::SourceAdapter};
use crate::{
    attachment::WEIGHTS,
    io::{hash, small},
    tensor::{Shard, SourceTensor},
};

/// The document of an adapter.
pub(super) const CONFIG: &str = "adapter_config.json";

impl Source {
    /// Adds an adapter, which an import merges into the weights before they are quantized: LoRA or `DoRA` as PEFT and mlx-lm
    /// write it. What it adds to weights is multiplied by `weight`. Several adapters add up.
    ///
    /// Reads the adapter's document and the header of its weights, and hashes the weights. Whether it fits is found by
    /// [`Plan::new`](crate::Plan::new).
    ///
    /// # Errors
    ///
    /// Returns [`SourceError::AdapterFile`] if `dir` is no adapter or cannot be merged, and the errors of reading a file.
    pub fn with_adapter(mut self, dir: &Path, weight: f64, limits: &Limits) -> Result<Self, SourceError> {
        let fail = |problem: String| SourceError::AdapterFile { path: dir.to_owned(), problem, hint: None };
        if !weight.is_finite() {
            return Err(fail(format!("its weight is {weight}, expected a finite number")));
        }
        let Found { digest, inventory, adapter, .. } = find(dir, limits)?;
        if adapter.has_magnitudes() && weight.to_bits() != 1.0_f64.to_bits() {
            return Err(fail("it holds magnitudes (DoRA), which no weight other than 1 is defined for".into()));
        }
        let (first_shard, first) = (self.shards.len(), self.tensors.len());
        self.shards.extend(inventory.shards);
        self.tensors.extend(
            inventory
                .tensors
                .into_iter()
                .map(|tensor| crate::SourceTensor { shard: tensor.shard + first_shard, ..tensor }),
        );
        self.adapters.push(SourceAdapter { path: dir.to_owned(), digest, weight, adapter: Arc::new(adapter), first });
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
}

/// Reads the document of an adapter and the header of its weights, and hashes the weights.
pub(super) fn find(dir: &Path, limits: &Limits) -> Result<Found, SourceError> {
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
    let list = |tensor: &SourceTensor| Listed::new(tensor.name.clone(), tensor.shape.dims());
    let listed: Vec<Listed> = inventory.tensors.iter().map(list).collect();
    let adapter = Adapter::read(&document, &listed).map_err(|error| fail(error.to_string(), error.hint()))?;
    Ok(Found { path, name, digest, inventory, adapter })
}
