//! What a model's JSON files say that its blobs may not.

use std::collections::{HashMap, HashSet};

use longshore_st_format::Dtype;
use serde_json::{Map, Value};

use super::{Store, scheme::Said};
use crate::{Config, Digest, Manifest, document::Facts};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// What to go by for tensors whose blobs say nothing.
pub(super) struct Hints {
    /// The type of values whose codes do not say it.
    pub(super) float: Dtype,
    /// What is said of the model as a whole, for where shapes leave a choice: most certain first.
    pub(super) weak: Vec<Said>,
    /// MLX's description of the weights that it quantized.
    quantization: Map<String, Value>,
}

impl Hints {
    /// Reads the files of one component, or of a model of one part. A file that cannot be read says nothing. `index` is what
    /// `model_index.json` holds.
    pub(super) fn read(
        files: &Files<'_>,
        index: &Map<String, Value>,
        config: &Config,
        component: Option<&str>,
    ) -> Self {
        let prefix = component.map_or_else(String::new, |component| format!("{component}/"));
        let mut own = files.object(&format!("{prefix}config.json")).unwrap_or_default();
        let float = ["dtype", "torch_dtype"].iter().find_map(|key| match own.get(*key)?.as_str()? {
            "float32" => Some(Dtype::F32),
            "float16" => Some(Dtype::F16),
            "bfloat16" => Some(Dtype::BF16),
            _ => None,
        });
        let text =
            |key: &str| index.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let of_index = text("quantization").map(|name| Said::new(&name, text("group_size").as_deref()));
        let of_config = Some(Said::new(&config.file_type, None)).filter(|said| !said.quant_type.is_empty());
        let said = ["quantization", "quantization_config"].iter().find_map(|key| match own.remove(*key) {
            // Others describe weights that ollama does not keep as they are.
            Some(Value::Object(found)) if found.contains_key("bits") && !found.contains_key("quant_method") => {
                Some(found)
            }
            _ => None,
        });
        Self {
            float: float.unwrap_or(Dtype::BF16),
            weak: of_index.into_iter().chain(of_config).collect(),
            quantization: said.unwrap_or_default(),
        }
    }

    /// What `config.json` says of a tensor: of its module, or of all.
    pub(super) fn said(&self, tensor: &str) -> Option<Said> {
        let module = tensor.strip_suffix(".weight").unwrap_or(tensor);
        let own = self.quantization.get(module).and_then(Value::as_object);
        let found = own.unwrap_or(&self.quantization);
        let quant_type = match found.get("mode").and_then(Value::as_str) {
            None | Some("affine") => format!("int{}", found.get("bits")?.as_u64()?),
            Some(mode) => mode.to_owned(),
        };
        let group_size = found.get("group_size").map(ToString::to_string);
        Some(Said::new(&quant_type, group_size.as_deref()))
    }
}

/// What the model is, as its `config.json` or a pipeline's `model_index.json` says.
pub(in crate::store) fn facts(store: &Store, manifest: &Manifest) -> Facts {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let files = Files::of(store, manifest);
    if let Some(own) = files.object("config.json") {
        let first = own.get("architectures").and_then(Value::as_array).and_then(|names| names.first());
        return Facts { architecture: text(first), model_type: text(own.get("model_type")), ..Facts::default() };
    }
    let Some(index) = files.object("model_index.json") else { return Facts::default() };
    // ollama writes the one for the other.
    let architecture = text(index.get("_class_name")).or_else(|| text(index.get("architecture")));
    let class = |(name, value): (&String, &Value)| match value.as_array()?.as_slice() {
        [Value::String(_), Value::String(class)] => Some((name.clone(), class.clone())),
        _ => None,
    };
    let tensors = manifest.layers.iter().filter(|layer| layer.is_tensor());
    let with_tensors: HashSet<&str> =
        tensors.filter_map(|layer| Some(layer.name.as_deref()?.split_once('/')?.0)).collect();
    let components = index.iter().filter_map(class).filter(|(name, _)| with_tensors.contains(&**name)).collect();
    Facts { architecture, components, ..Facts::default() }
}

/// The model's companion files, by name.
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

    /// One of its JSON files, if it is there, readable and an object.
    pub(super) fn object(&self, name: &str) -> Option<Map<String, Value>> {
        let path = self.store.blob_path(self.by_name.get(name)?);
        let bytes = crate::fs::read_at_most(&path, MAX_FILE).ok()?.ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}
