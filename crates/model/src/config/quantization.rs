//! What a checkpoint's documents say about weights that are quantized already.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{ConfigError, keys::QUANTIZATION, parse_object, text};

/// How a checkpoint says that its weights are stored, from `quantization`, `quantization_config` or `compression_config` of
/// its `config.json`, or from `ModelOpt`'s `hf_quant_config.json`.
///
/// It is what writers say, in one form for all of them, and may be wrong: tensors have the last word. A member that the
/// document lacks, or has with another type, is `None` or empty; members that are not known are passed over.
///
/// ```
/// use longshore_model::ModelConfig;
///
/// let config = ModelConfig::parse(
///     br#"{"quantization": {"bits": 4, "group_size": 64, "lm_head": {"bits": 8, "group_size": 32}, "model.norm": false}}"#,
/// )?;
/// let quantization = config.quantization.expect("it is described");
/// assert_eq!(quantization.of_module("model.layers.0.mlp.up_proj").expect("it is quantized").bits, Some(4));
/// assert_eq!(quantization.of_module("lm_head").expect("it is quantized").group_size, Some(32));
/// assert_eq!(quantization.of_module("model.norm"), None);
/// # Ok::<(), longshore_model::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceQuantization {
    /// Whose form it is.
    pub method: QuantizationMethod,
    /// How weights are coded unless [`Self::overrides`] says otherwise. Of several groups that differ, only what they agree on.
    pub weights: WeightCoding,
    /// Rows and columns of the blocks that share a scale: `weight_block_size`, or `block_structure` of the groups.
    pub block: Option<(u64, u64)>,
    /// What the method calls the layout: compressed-tensors' `format`, `ModelOpt`'s `quant_algo`, GPTQ's `checkpoint_format`,
    /// AWQ's `version`, the `fmt` of fp8, bitsandbytes' `bnb_4bit_quant_type`. In lower case.
    pub format: Option<String>,
    /// Whether rows are in the order of their activations' size (GPTQ's `desc_act`).
    pub desc_act: Option<bool>,
    /// What wrote it: `producer.version`, or the `version` of compressed-tensors.
    pub version: Option<String>,
    /// Modules by their path that are coded in another way; `None` for one that is not quantized.
    pub overrides: BTreeMap<String, Option<WeightCoding>>,
    /// compressed-tensors' `config_groups`, by their names; `ModelOpt` writes them too.
    pub groups: BTreeMap<String, WeightGroup>,
    /// Names or patterns of modules that are not quantized, as the method writes them: `ignore`, `ignored_layers`,
    /// `modules_to_not_convert`, `exclude_modules`, `llm_int8_skip_modules`.
    pub skipped: Vec<String>,
}

/// Whose form a description has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QuantizationMethod {
    /// MLX: `bits` and `group_size` without a `quant_method`.
    Mlx,
    /// `fp8`, as `DeepSeek` and Qwen publish it.
    Fp8,
    /// `compressed-tensors`.
    CompressedTensors,
    /// `modelopt`.
    ModelOpt,
    /// `gptq`.
    Gptq,
    /// `awq`.
    Awq,
    /// `mxfp4`, as gpt-oss has it.
    Mxfp4,
    /// `bitsandbytes`.
    BitsAndBytes,
    /// Another, by its name in lower case; empty where the document names none.
    Other(String),
}

/// How the elements of a weight are coded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WeightCoding {
    /// Bits of an element.
    pub bits: Option<u32>,
    /// Consecutive elements that share a scale. `None` also for −1, which GPTQ and compressed-tensors write for a whole row.
    pub group_size: Option<u32>,
    /// MLX's `mode`: `affine`, `nvfp4`, `mxfp4`, `mxfp8`. Absent means affine.
    pub mode: Option<String>,
    /// What the codes are: `int` or `float`.
    pub kind: Option<String>,
    /// What shares a scale: `tensor`, `channel`, `group`, `tensor_group`, `block`.
    pub strategy: Option<String>,
    /// Whether codes have no zero point: `symmetric`, GPTQ's `sym`, the opposite of AWQ's `zero_point`.
    pub symmetric: Option<bool>,
}

/// One of compressed-tensors' groups of modules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WeightGroup {
    /// The layout, such as `nvfp4-pack-quantized`; absent where the whole document has one. In lower case.
    pub format: Option<String>,
    /// Classes, names or patterns (`re:…`) of the modules.
    pub targets: Vec<String>,
    /// How their weights are coded.
    pub weights: WeightCoding,
    /// Rows and columns of the blocks that share a scale.
    pub block: Option<(u64, u64)>,
}

const SKIPPED: &[&str] =
    &["ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules", "llm_int8_skip_modules"];

impl SourceQuantization {
    /// Reads `ModelOpt`'s `hf_quant_config.json`. `None` if it describes nothing.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for what is no JSON object.
    pub fn parse_sidecar(bytes: &[u8]) -> Result<Option<Self>, ConfigError> {
        let document = parse_object(bytes)?;
        let Some(described) = document.get("quantization").and_then(Value::as_object) else { return Ok(None) };
        let mut found = Self::from_object(described);
        found.method = QuantizationMethod::ModelOpt;
        found.version = found.version.or_else(|| producer_version(&document));
        Ok(Some(found))
    }

    /// How the weight of the module with this path is coded; `None` if it is said not to be.
    ///
    /// Looks at [`Self::overrides`] and, by whole names only, at [`Self::skipped`]; patterns are left to those who know the
    /// method's.
    #[must_use]
    pub fn of_module(&self, module: &str) -> Option<&WeightCoding> {
        match self.overrides.get(module) {
            Some(coding) => coding.as_ref(),
            None if self.skipped.iter().any(|skipped| skipped == module) => None,
            None => Some(&self.weights),
        }
    }

    /// The description among the members of these objects: the first that names a method or bits, else the first.
    pub(super) fn find(levels: &[&Map<String, Value>]) -> Option<Self> {
        let members =
            levels.iter().flat_map(|level| QUANTIZATION.iter().filter_map(|key| level.get(*key)?.as_object()));
        let mut all = members.filter(|object| !object.is_empty()).map(Self::from_object);
        let first = all.next()?;
        let tells = |found: &Self| found.method != QuantizationMethod::Other(String::new());
        if tells(&first) { Some(first) } else { Some(all.find(tells).unwrap_or(first)) }
    }

    fn from_object(object: &Map<String, Value>) -> Self {
        let word = |keys: &[&str]| keys.iter().find_map(|key| lower(object.get(*key)?));
        let mut weights = WeightCoding::from_object(object);
        let mut format = word(&["format", "quant_algo", "checkpoint_format", "fmt", "bnb_4bit_quant_type"]);
        let method = QuantizationMethod::of(object, &weights);
        let mut version = match object.get("version") {
            Some(Value::Number(number)) => Some(number.to_string()),
            other => other.and_then(text),
        };
        if method == QuantizationMethod::Awq {
            // AWQ calls its layout a version.
            format = version.take().map(|layout| layout.to_lowercase());
            weights.symmetric = flag(object, "zero_point").map(|has_zero_point| !has_zero_point);
        }
        if method == QuantizationMethod::BitsAndBytes {
            let load = |key| flag(object, key) == Some(true);
            let bits = [("load_in_4bit", 4), ("load_in_8bit", 8)].into_iter().find(|(key, _)| load(key));
            weights.bits = weights.bits.or(bits.map(|(_, bits)| bits));
        }
        let groups = groups(object);
        if let Some(common) = WeightCoding::common(groups.values().map(|group| &group.weights)) {
            weights = common;
        }
        let blocks = || groups.values().find_map(|group| group.block);
        let mut overrides = BTreeMap::new();
        if method == QuantizationMethod::Mlx {
            overrides.extend(object.iter().filter_map(module));
        }
        if let Some(layers) = object.get("quantized_layers").and_then(Value::as_object) {
            overrides.extend(layers.iter().filter_map(module));
        }
        Self {
            block: pair(object.get("weight_block_size")).or_else(blocks),
            desc_act: flag(object, "desc_act"),
            version: version.or_else(|| producer_version(object)),
            skipped: SKIPPED.iter().filter_map(|key| object.get(*key)).flat_map(texts).collect(),
            method,
            weights,
            format,
            overrides,
            groups,
        }
    }
}

impl QuantizationMethod {
    fn of(object: &Map<String, Value>, weights: &WeightCoding) -> Self {
        let name = object.get("quant_method").and_then(lower);
        match name.as_deref() {
            Some("fp8") => Self::Fp8,
            Some("compressed-tensors") => Self::CompressedTensors,
            Some("modelopt" | "modelopt_fp4" | "modelopt_fp8") => Self::ModelOpt,
            Some("gptq") => Self::Gptq,
            Some("awq") => Self::Awq,
            Some("mxfp4") => Self::Mxfp4,
            Some("bitsandbytes") => Self::BitsAndBytes,
            Some(other) => Self::Other(other.to_owned()),
            None if object.contains_key("quant_algo") => Self::ModelOpt,
            None if object.contains_key("config_groups") => Self::CompressedTensors,
            None if ["_load_in_4bit", "load_in_4bit", "load_in_8bit"].iter().any(|key| object.contains_key(*key)) => {
                Self::BitsAndBytes
            }
            None if weights.bits.is_some() => Self::Mlx,
            None => Self::Other(String::new()),
        }
    }
}

impl WeightCoding {
    fn from_object(object: &Map<String, Value>) -> Self {
        let count = |keys: &[&str]| keys.iter().find_map(|key| u32::try_from(whole(object.get(*key)?)?).ok());
        let word = |key: &str| object.get(key).and_then(lower);
        Self {
            bits: count(&["bits", "num_bits", "w_bit"]).filter(|bits| *bits > 0),
            group_size: count(&["group_size", "q_group_size"]).filter(|size| *size > 0),
            mode: word("mode"),
            kind: word("type"),
            strategy: word("strategy"),
            symmetric: flag(object, "symmetric").or_else(|| flag(object, "sym")),
        }
    }

    /// What all of these agree on; `None` if there are none.
    fn common<'c>(mut codings: impl Iterator<Item = &'c Self>) -> Option<Self> {
        let mut common = codings.next()?.clone();
        for other in codings {
            common.bits = common.bits.filter(|ours| other.bits.as_ref() == Some(ours));
            common.group_size = common.group_size.filter(|ours| other.group_size.as_ref() == Some(ours));
            common.mode = common.mode.filter(|ours| other.mode.as_ref() == Some(ours));
            common.kind = common.kind.filter(|ours| other.kind.as_ref() == Some(ours));
            common.strategy = common.strategy.filter(|ours| other.strategy.as_ref() == Some(ours));
            common.symmetric = common.symmetric.filter(|ours| other.symmetric.as_ref() == Some(ours));
        }
        Some(common)
    }
}

/// What MLX or `ModelOpt` say about one module. `None` for a member that is about no module.
fn module((name, value): (&String, &Value)) -> Option<(String, Option<WeightCoding>)> {
    let coding = match value {
        Value::Bool(false) => None,
        Value::Object(object) => Some(WeightCoding::from_object(object)),
        _ => return None,
    };
    Some((name.clone(), coding))
}

fn groups(object: &Map<String, Value>) -> BTreeMap<String, WeightGroup> {
    let listed = object.get("config_groups").and_then(Value::as_object);
    let group = |(name, value): (&String, &Value)| {
        let group = value.as_object()?;
        let weights = group.get("weights")?.as_object()?;
        let found = WeightGroup {
            format: group.get("format").and_then(lower),
            targets: group.get("targets").into_iter().flat_map(texts).collect(),
            weights: WeightCoding::from_object(weights),
            block: pair(weights.get("block_structure")),
        };
        Some((name.clone(), found))
    };
    listed.into_iter().flatten().filter_map(group).collect()
}

fn producer_version(object: &Map<String, Value>) -> Option<String> {
    text(object.get("producer")?.get("version")?)
}

fn flag(object: &Map<String, Value>, key: &str) -> Option<bool> {
    object.get(key)?.as_bool()
}

fn lower(value: &Value) -> Option<String> {
    text(value).map(|text| text.to_lowercase())
}

/// A whole number, also where it is written as text.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// Two whole numbers that are not 0, also in one text: `128x128`.
fn pair(value: Option<&Value>) -> Option<(u64, u64)> {
    let (rows, columns) = match value? {
        Value::Array(both) => match &both[..] {
            [rows, columns] => (whole(rows)?, whole(columns)?),
            _ => return None,
        },
        other => {
            let (rows, columns) = other.as_str()?.split_once('x')?;
            (rows.parse().ok()?, columns.parse().ok()?)
        }
    };
    (rows > 0 && columns > 0).then_some((rows, columns))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(text).collect()
}
