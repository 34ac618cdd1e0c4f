//! A checkpoint of a few weights in one form, and a configuration that describes them rightly or not.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use longshore_st_format::{Layout, Shape, Writer};
use serde_json::{Map, Value, json};

use super::{
    choices::Choices,
    decode::{Values, decode},
    weight::{FORMS, Form, Numbers, Weight},
};

/// What may stand before a module's path, in tensors and in the configuration.
const PREFIXES: [&str; 6] = ["", "model.", "model.language_model.", "language_model.model.", "vision_tower.", "mtp."];
const MODULES: [&str; 5] = [
    "layers.0.mlp.up_proj",
    "layers.0.mlp.down_proj",
    "layers.0.linear_attn.out_proj",
    "lm_head",
    "layers.1.self_attn.q_proj",
];
const BITS: [usize; 6] = [4, 8, 2, 3, 5, 6];
const GROUPS: [usize; 3] = [64, 128, 32];
const ROWS: [usize; 3] = [32, 64, 128];

/// The files of a checkpoint.
pub(super) struct Checkpoint {
    config: Value,
    weights: Vec<Weight>,
    /// The numbers that the configuration has for each weight.
    said: Vec<Numbers>,
    /// Whether a tensor was changed afterwards, so that the values are not what the weights say.
    is_damaged: bool,
    is_pipeline: bool,
}

impl Checkpoint {
    /// A checkpoint by choices.
    pub(super) fn choose(choices: &mut Choices<'_>) -> Self {
        let form = choices.of(&FORMS);
        let is_pipeline = choices.rarely();
        let global = numbers(form, choices);
        let prefix = choices.of(&PREFIXES);
        let first = usize::from(choices.byte());
        let mut weights = Vec::new();
        for at in 0..=usize::from(choices.byte() % 3) {
            let module = match form {
                Form::Blocks => format!("{prefix}layers.{at}.mlp.experts"),
                _ => format!("{prefix}{}", MODULES[(first + at) % MODULES.len()]),
            };
            let own = if choices.rarely() { numbers(form, choices) } else { global };
            let shape = [choices.of(&ROWS), 256 * (1 + usize::from(choices.byte() % 2))];
            weights.push(Weight::new(form, module, own, shape, choices));
        }
        let mut said: Vec<Numbers> = vec![global; weights.len()];
        let mut overrides: Vec<(String, Numbers)> = Vec::new();
        for (weight, said) in weights.iter().zip(&mut said) {
            let is_left_out = choices.rarely();
            if weight.numbers == global && !choices.rarely() || is_left_out {
                continue;
            }
            let numbers = if choices.rarely() { numbers(form, choices) } else { weight.numbers };
            let prefix = if choices.rarely() { choices.of(&PREFIXES) } else { prefix };
            let path = weight.module.strip_prefix(self::prefix(&weight.module)).expect("it has this prefix");
            let name = format!("{prefix}{path}");
            if has_overrides(form) && bare(&name) == bare(&weight.module) {
                *said = numbers;
            }
            overrides.push((name, numbers));
        }
        let global = if choices.rarely() { lie(form, &overrides, &weights, &mut said, choices) } else { global };
        let mut config = json!({"architectures": [architecture(form)]});
        let members = config.as_object_mut().expect("it is an object");
        if choices.rarely() {
            members.insert("hidden_size".to_owned(), json!(choices.of(&[256, 512, 128, 1024, 96])));
        }
        let (key, described) = description(form, global, &overrides);
        if let Some(described) = described {
            members.insert(key.to_owned(), described);
        }
        let is_damaged = choices.rarely() && damage(&mut weights, choices);
        Self { config, weights, said, is_damaged, is_pipeline }
    }

    /// Writes the files below `dir`.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let below = self.below(dir);
        fs::create_dir_all(&below)?;
        if self.is_pipeline {
            let index = json!({"_class_name": "TestPipeline", "transformer": ["diffusers", "TestTransformer2DModel"]});
            fs::write(dir.join("model_index.json"), index.to_string())?;
        }
        fs::write(below.join("config.json"), self.config.to_string())?;
        let all = || self.weights.iter().flat_map(|weight| weight.tensors.iter().map(move |tensor| (weight, tensor)));
        let name = |weight: &Weight, suffix: &str| format!("{}.{suffix}", weight.module);
        let tensors = all().map(|(weight, tensor)| {
            let dims: Vec<u64> = tensor.dims.iter().map(|dim| *dim as u64).collect();
            (name(weight, tensor.suffix), tensor.dtype, Shape::from(dims))
        });
        let layout = Layout::new(&BTreeMap::new(), tensors).map_err(io::Error::other)?;
        let file = if self.is_pipeline { "diffusion_pytorch_model.safetensors" } else { "model.safetensors" };
        let order: Vec<String> = layout.parts().map(|part| part.name.to_owned()).collect();
        let bytes: BTreeMap<String, &[u8]> =
            all().map(|(weight, tensor)| (name(weight, tensor.suffix), tensor.bytes.as_slice())).collect();
        let mut writer = Writer::new(fs::File::create(below.join(file))?, layout).map_err(io::Error::other)?;
        for name in order {
            writer.write(bytes[&name]).map_err(io::Error::other)?;
        }
        writer.finish().map_err(io::Error::other)?;
        Ok(())
    }

    /// The directory of the weights.
    pub(super) fn below(&self, dir: &Path) -> PathBuf {
        if self.is_pipeline { dir.join("transformer") } else { dir.to_owned() }
    }

    /// The values that an import has to give. `None` if a tensor was damaged.
    ///
    /// # Panics
    ///
    /// Panics if the tensors do not fit the numbers of the configuration, because such a checkpoint is refused.
    pub(super) fn values(&self) -> Option<BTreeMap<String, Values>> {
        let decoded = self.weights.iter().zip(&self.said).map(|(weight, said)| {
            decode(weight, *said)
                .unwrap_or_else(|| panic!("{} was imported, but is not {said:?}\n{}", weight.module, self.config()))
        });
        (!self.is_damaged).then(|| decoded.collect())
    }

    pub(super) fn config(&self) -> String {
        self.config.to_string()
    }
}

/// Numbers that the form may have.
fn numbers(form: Form, choices: &mut Choices<'_>) -> Numbers {
    let group = choices.of(&GROUPS);
    match form {
        Form::Awq => Numbers { bits: 4, group },
        Form::Gptq => Numbers { bits: choices.of(&[4, 8, 2]), group },
        Form::Packed => Numbers { bits: choices.of(&[4, 8]), group },
        Form::Mlx => Numbers { bits: choices.of(&BITS), group },
        Form::Fp8 => Numbers { bits: 8, group: choices.of(&[128, 64]) },
        Form::ModelOpt | Form::CompressedNvfp4 => Numbers { bits: 4, group: 16 },
        Form::Blocks | Form::Fp4Bytes | Form::MlxFloat => Numbers { bits: 4, group: 32 },
    }
}

/// Changes the numbers for all modules that are not described on their own.
fn lie(
    form: Form,
    overrides: &[(String, Numbers)],
    weights: &[Weight],
    said: &mut [Numbers],
    choices: &mut Choices<'_>,
) -> Numbers {
    let other = numbers(form, choices);
    for (weight, said) in weights.iter().zip(said) {
        if !has_overrides(form) || !overrides.iter().any(|(name, _)| bare(name) == bare(&weight.module)) {
            *said = other;
        }
    }
    other
}

/// Changes a tensor's shape or drops it. Returns false if there was nothing to change.
fn damage(weights: &mut [Weight], choices: &mut Choices<'_>) -> bool {
    let at = usize::from(choices.byte()) % weights.len();
    let tensors = &mut weights[at].tensors;
    let at = usize::from(choices.byte()) % tensors.len();
    if choices.rarely() {
        tensors.remove(at);
        return true;
    }
    let tensor = &mut tensors[at];
    let axis = usize::from(choices.byte());
    if tensor.dims.is_empty() {
        return false;
    }
    let axis = axis % tensor.dims.len();
    let other = choices.of(&[0, 1, 3, 31, 64, 256]);
    tensor.dims[axis] = other;
    let len = tensor.dims.iter().product::<usize>() * usize::try_from(tensor.dtype.bits() / 8).expect("a few");
    tensor.bytes.resize(len, 0x38);
    true
}

/// Whether a configuration can give single modules of the form numbers of their own.
fn has_overrides(form: Form) -> bool {
    matches!(form, Form::Gptq | Form::Packed | Form::Mlx | Form::MlxFloat)
}

fn prefix(module: &str) -> &'static str {
    PREFIXES.iter().rev().find(|prefix| module.starts_with(**prefix)).expect("one prefix is empty")
}

/// A path without the segments that wrap a language model.
fn bare(path: &str) -> String {
    path.split('.')
        .filter(|segment| !["model", "language_model", "text_model"].contains(segment))
        .collect::<Vec<_>>()
        .join(".")
}

fn architecture(form: Form) -> &'static str {
    if form == Form::Blocks { "GptOssForCausalLM" } else { "TestForCausalLM" }
}

/// The member of the configuration that describes the weights.
fn description(form: Form, global: Numbers, overrides: &[(String, Numbers)]) -> (&'static str, Option<Value>) {
    let Numbers { bits, group } = global;
    let group_of = |numbers: &Numbers, targets: &str| {
        json!({"targets": [targets], "weights": {
            "num_bits": numbers.bits, "group_size": numbers.group, "type": "int", "symmetric": true, "strategy": "group"}})
    };
    let described = match form {
        Form::Awq => {
            json!({"quant_method": "awq", "bits": bits, "group_size": group, "zero_point": true, "version": "gemm"})
        }
        Form::Gptq => {
            let dynamic: Map<String, Value> = overrides
                .iter()
                .map(|(name, numbers)| {
                    let pattern = format!("+:{}$", name.replace('.', "[.]"));
                    (pattern, json!({"bits": numbers.bits, "group_size": numbers.group}))
                })
                .collect();
            json!({"quant_method": "gptq", "bits": bits, "group_size": group, "sym": false, "desc_act": false, "dynamic": dynamic})
        }
        Form::Fp8 => json!({"quant_method": "fp8", "weight_block_size": [group, group]}),
        Form::ModelOpt => {
            let excluded: Vec<&String> = overrides.iter().map(|(name, _)| name).collect();
            json!({"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": group, "exclude_modules": excluded})
        }
        Form::CompressedNvfp4 | Form::Packed => {
            let format = if form == Form::Packed { "pack-quantized" } else { "nvfp4-pack-quantized" };
            let mut groups = Map::new();
            for (at, (name, numbers)) in overrides.iter().enumerate() {
                groups.insert(format!("group_{at}"), group_of(numbers, name));
            }
            groups.insert("group_z".to_owned(), group_of(&global, "Linear"));
            json!({"quant_method": "compressed-tensors", "format": format, "config_groups": groups})
        }
        Form::Blocks => json!({"quant_method": "mxfp4"}),
        Form::Fp4Bytes => json!({"quant_method": "fp8", "weight_block_size": [128, 128]}),
        Form::Mlx | Form::MlxFloat => {
            let mut members = json!({"bits": bits, "group_size": group});
            if form == Form::MlxFloat {
                members["mode"] = json!("mxfp4");
            }
            for (name, numbers) in overrides {
                members[name] = json!({"bits": numbers.bits, "group_size": numbers.group});
                if form == Form::MlxFloat {
                    members[name]["mode"] = json!("mxfp4");
                }
            }
            return ("quantization", Some(members));
        }
    };
    ("quantization_config", Some(described))
}
