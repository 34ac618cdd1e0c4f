//! The cases of `vectors.json`, as files.

use std::collections::BTreeMap;

use longshore_st_format::Dtype;
use serde::Deserialize;
use serde_json::Value;

use crate::support::Dir;

/// A base, an adapter, and the weights of the base once it is merged.
#[derive(Deserialize)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) model: Value,
    pub(super) config: Value,
    pub(super) base: Vec<Tensor>,
    pub(super) adapter: Vec<Tensor>,
    pub(super) expected: BTreeMap<String, Vec<f64>>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) shape: Vec<u64>,
    pub(super) values: Vec<f32>,
}

pub(super) fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("vectors.json")).expect("vectors.py wrote it")
}

impl Case {
    /// Directories of the base, with elements of type `dtype`, and of the adapter, of F32.
    pub(super) fn write(&self, dtype: Dtype) -> [Dir; 2] {
        let [base, adapter] = [Dir::new(), Dir::new()];
        let architectures = self.model.get("architectures").cloned();
        let architectures = architectures.unwrap_or_else(|| Value::from(vec!["TestForCausalLM"]));
        base.file("config.json", serde_json::json!({ "architectures": architectures }).to_string());
        write(&base, "model.safetensors", &self.base, dtype);
        adapter.file("adapter_config.json", self.config.to_string());
        let is_peft = self.config.get("peft_type").is_some();
        let name = if is_peft { "adapter_model.safetensors" } else { "adapters.safetensors" };
        write(&adapter, name, &self.adapter, Dtype::F32);
        [base, adapter]
    }
}

pub(super) fn write(dir: &Dir, name: &str, tensors: &[Tensor], dtype: Dtype) {
    let bytes = |value: &f32| match dtype {
        // The numbers have few bits, so that nothing is rounded.
        Dtype::BF16 => value.to_le_bytes()[2..].to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    let data: Vec<Vec<u8>> = tensors.iter().map(|tensor| tensor.values.iter().flat_map(bytes).collect()).collect();
    let list: Vec<_> =
        tensors.iter().zip(&data).map(|(tensor, data)| (&*tensor.name, dtype, &*tensor.shape, &**data)).collect();
    dir.bytes(name, &list);
}
