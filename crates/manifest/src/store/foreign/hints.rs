//! Facts about tensors that a model's JSON files state and its blobs may lack.

use std::collections::{HashMap, HashSet};

use longshore_model::{
    MAX_CONFIG_BYTES, ModelConfig, PipelineIndex, QuantizationMethod, SourceQuantization, WeightCoding,
    modules::without_wrappers,
};
use longshore_st_format::Dtype;
use serde_json::{Map, Value};

use super::{Store, scheme::Said};
use crate::{Config, Digest, Manifest, document::Facts};

/// Hints for tensors whose blobs do not state their coding.
pub(super) struct Hints {
    /// Type of values whose codes do not imply it.
    pub(super) float: Dtype,
    /// Descriptions of the model as a whole, most certain first. They decide where shapes leave a choice.
    pub(super) weak: Vec<Said>,
    /// MLX's description of the weights that it quantized.
    quantization: Option<SourceQuantization>,
    /// Its entries for single modules, by their paths without what tools put before them in different ways. An entry
    /// for which that leaves a choice is missing.
    of_modules: HashMap<String, WeightCoding>,
}

impl Hints {
    /// Reads the files of one component, or of a model of one part. A file that cannot be read gives no hints. `index`
    /// is the content of `model_index.json`.
    pub(super) fn read(
        files: &Files<'_>,
        index: &Map<String, Value>,
        config: &Config,
        component: Option<&str>,
    ) -> Self {
        let prefix = component.map_or_else(String::new, |component| format!("{component}/"));
        let own = files.config(&format!("{prefix}config.json")).unwrap_or_default();
        let text =
            |key: &str| index.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let of_index = text("quantization").map(|name| Said::new(&name, text("group_size").as_deref()));
        let of_config = Some(Said::new(&config.file_type, None)).filter(|said| !said.quant_type.is_empty());
        // Other descriptions are about weights that ollama converts.
        let is_of_mlx = |said: &SourceQuantization| said.method == QuantizationMethod::Mlx;
        let quantization = own.quantization.filter(is_of_mlx);
        Self {
            of_modules: quantization.as_ref().map(of_modules).unwrap_or_default(),
            float: own.dtype.unwrap_or(Dtype::BF16),
            weak: of_index.into_iter().chain(of_config).collect(),
            quantization,
        }
    }

    /// Returns what `config.json` states about a tensor: the entry of its module, or else the general one.
    pub(super) fn said(&self, tensor: &str) -> Option<Said> {
        let quantization = self.quantization.as_ref()?;
        let module = tensor.strip_suffix(".weight").unwrap_or(tensor);
        let own = match quantization.overrides.get(module) {
            Some(own) => own.as_ref(),
            None => self.of_modules.get(&without_wrappers(module)),
        };
        let found = own.unwrap_or(&quantization.weights);
        let quant_type = match found.mode.as_deref() {
            None | Some("affine") => format!("int{}", found.bits?),
            Some(mode) => mode.to_owned(),
        };
        let group_size = found.group_size.map(|size| size.to_string());
        Some(Said::new(&quant_type, group_size.as_deref()))
    }
}

/// Collects [`Hints::of_modules`].
fn of_modules(quantization: &SourceQuantization) -> HashMap<String, WeightCoding> {
    let mut found: HashMap<String, Option<WeightCoding>> = HashMap::new();
    for (path, coding) in &quantization.overrides {
        let same = found.entry(without_wrappers(path)).or_insert_with(|| coding.clone());
        if same != coding {
            *same = None;
        }
    }
    found.into_iter().filter_map(|(path, coding)| Some((path, coding?))).collect()
}

/// Returns the facts about a model from its `config.json`, or from a pipeline's `model_index.json`.
pub(in crate::store) fn facts(store: &Store, manifest: &Manifest) -> Facts {
    let files = Files::of(store, manifest);
    if let Some(own) = files.config("config.json") {
        return Facts {
            architecture: own.architecture.clone(),
            model_type: own.model_type.clone(),
            ..Facts::default()
        };
    }
    let Some(bytes) = files.bytes("model_index.json") else { return Facts::default() };
    let Ok(index) = PipelineIndex::parse(&bytes) else { return Facts::default() };
    // ollama stores a pipeline's class as `architecture` of `model_index.json`.
    let of_ollama = || files.object("model_index.json")?.get("architecture")?.as_str().map(str::to_owned);
    let architecture = index.config.class_name.or_else(of_ollama);
    let tensors = manifest.layers.iter().filter(|layer| layer.is_tensor());
    let with_tensors: HashSet<&str> =
        tensors.filter_map(|layer| Some(layer.name.as_deref()?.split_once('/')?.0)).collect();
    let with_tensors = |name: &str| with_tensors.contains(name);
    let components = index.components.into_iter().filter(|component| with_tensors(&component.name));
    let components = components.map(|component| (component.name, component.class)).collect();
    Facts { architecture, components, ..Facts::default() }
}

/// Companion files of a model, by name.
pub(super) struct Files<'m> {
    store: &'m Store,
    by_name: HashMap<&'m str, Digest>,
}

impl<'m> Files<'m> {
    pub(super) fn of(store: &'m Store, manifest: &'m Manifest) -> Self {
        let mut by_name = HashMap::new();
        for layer in manifest.layers.iter().filter(|layer| layer.is_file()) {
            by_name.entry(layer.name.as_deref().unwrap_or_default()).or_insert(layer.digest);
        }
        Self { store, by_name }
    }

    /// Returns the bytes of a JSON file, if it exists and can be read.
    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.store.blob_path(self.by_name.get(name)?);
        crate::fs::read_at_most(&path, MAX_CONFIG_BYTES).ok()?.ok()
    }

    /// Returns the object in a JSON file, if the file holds one.
    pub(super) fn object(&self, name: &str) -> Option<Map<String, Value>> {
        serde_json::from_slice(&self.bytes(name)?).ok()
    }

    /// Returns the model configuration in a JSON file.
    fn config(&self, name: &str) -> Option<ModelConfig> {
        ModelConfig::parse(&self.bytes(name)?).ok()
    }
}
