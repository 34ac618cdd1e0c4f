//! Descriptions of already quantized weights in a checkpoint's documents.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::{
    document::{ConfigError, parse_object, text},
    keys::QUANTIZATION,
    lenient, order,
};

/// Description of how a checkpoint stores its weights. It comes from `quantization`, `quantization_config` or
/// `compression_config` of `config.json`, or from `ModelOpt`'s `hf_quant_config.json`.
///
/// The description repeats what the checkpoint's writer stated, in one form for all writers. It may be wrong; the
/// tensors decide. A member that the document lacks, or gives another type, is `None` or empty. Unknown members are
/// ignored.
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
    /// Tool or format whose form the description has.
    pub method: QuantizationMethod,
    /// Coding of all weights that are not in [`Self::overrides`]. If several groups differ, only the properties on
    /// which all groups agree.
    pub weights: WeightCoding,
    /// Rows and columns of the blocks that share a scale, from `weight_block_size` or the `block_structure` of the
    /// groups.
    pub block: Option<(u64, u64)>,
    /// Layout by the method's own name, in lower case: compressed-tensors' `format`, `ModelOpt`'s `quant_algo`, GPTQ's
    /// `checkpoint_format`, AWQ's `version`, the `fmt` of fp8, bitsandbytes' `bnb_4bit_quant_type`.
    pub format: Option<String>,
    /// Whether rows are ordered by the size of their activations (GPTQ's `desc_act`).
    pub desc_act: Option<bool>,
    /// Version of the writing tool, from `producer.version`, or the `version` of compressed-tensors.
    pub version: Option<String>,
    /// Modules with a coding of their own, by path. The value is `None` for a module that is not quantized.
    pub overrides: BTreeMap<String, Option<WeightCoding>>,
    /// Regular expressions of GPTQ's `dynamic`, in the document's order. For each module, the first that matches from
    /// the beginning of its path counts. The coding is `None` if modules that match are not quantized. What a pattern
    /// does not state is as in [`Self::weights`].
    pub dynamic: Vec<(String, Option<WeightCoding>)>,
    /// Groups of compressed-tensors' `config_groups` by name. `ModelOpt` writes them too.
    pub groups: BTreeMap<String, WeightGroup>,
    /// Names or patterns of modules that are not quantized, as the method writes them: `ignore`, `ignored_layers`,
    /// `modules_to_not_convert`, `modules_to_save`, `exclude_modules`, `llm_int8_skip_modules`.
    pub skipped: Vec<String>,
}

/// Tool or format whose form a description has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QuantizationMethod {
    /// MLX: the description has `bits` and `group_size` and no `quant_method`.
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
    /// `mxfp4`, as gpt-oss uses it.
    Mxfp4,
    /// `bitsandbytes`.
    BitsAndBytes,
    /// Any other method, by its name in lower case. The name is empty if the document names none.
    Other(String),
}

/// Coding of the elements of a weight.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WeightCoding {
    /// Bits of one element.
    pub bits: Option<u32>,
    /// Number of consecutive elements that share a scale. Also `None` for −1, by which GPTQ and compressed-tensors mean
    /// a whole row.
    pub group_size: Option<u32>,
    /// MLX's `mode`: `affine`, `nvfp4`, `mxfp4` or `mxfp8`. `None` means affine.
    pub mode: Option<String>,
    /// Type of the codes: `int` or `float`.
    pub kind: Option<String>,
    /// Part of a weight that shares one scale: `tensor`, `channel`, `group`, `tensor_group` or `block`.
    pub strategy: Option<String>,
    /// Whether codes have no zero point, from `symmetric`, GPTQ's `sym`, or the negation of AWQ's `zero_point`.
    pub symmetric: Option<bool>,
}

/// One group of modules of compressed-tensors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WeightGroup {
    /// Layout in lower case, such as `nvfp4-pack-quantized`. `None` if the document has one layout for all groups.
    pub format: Option<String>,
    /// Place among the groups in the document, from 0.
    pub place: usize,
    /// Classes, names or patterns (`re:…`) of the modules.
    pub targets: Vec<String>,
    /// Coding of the modules' weights.
    pub weights: WeightCoding,
    /// Rows and columns of the blocks that share a scale.
    pub block: Option<(u64, u64)>,
}

const SKIPPED: &[&str] = &[
    "ignore",
    "ignored_layers",
    "modules_to_not_convert",
    "modules_to_save",
    "exclude_modules",
    "llm_int8_skip_modules",
];
/// GPTQ's patterns, and compressed-tensors' groups. The first that matches a module counts.
const DYNAMIC: &str = "dynamic";
const GROUPS: &str = "config_groups";

impl SourceQuantization {
    /// Parses `ModelOpt`'s `hf_quant_config.json`. Returns `None` if the document describes no quantization.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the bytes are not a JSON object.
    pub fn parse_sidecar(bytes: &[u8]) -> Result<Option<Self>, ConfigError> {
        let document = parse_object(bytes)?;
        let Some(described) = document.get("quantization").and_then(Value::as_object) else { return Ok(None) };
        let mut found = Self::from_object(described);
        found.method = QuantizationMethod::ModelOpt;
        found.version = found.version.or_else(|| producer_version(&document));
        found.put_in_order(bytes);
        Ok(Some(found))
    }

    /// Puts what counts by its order in the document into that order. `json` is the document.
    pub(super) fn put_in_order(&mut self, json: &[u8]) {
        if self.dynamic.len() > 1 {
            let keys = order::keys(&lenient::strict(json), DYNAMIC);
            let places: HashMap<&str, usize> = keys.iter().map(String::as_str).zip(0..).collect();
            self.dynamic.sort_by_key(|(pattern, _)| places.get(pattern.as_str()).copied().unwrap_or(usize::MAX));
        }
        let groups = if self.groups.len() > 1 { order::keys(&lenient::strict(json), GROUPS) } else { Vec::new() };
        for (place, key) in groups.iter().enumerate() {
            if let Some(group) = self.groups.get_mut(key) {
                group.place = place;
            }
        }
    }

    /// Returns the coding of the weight of the module at path `module`, or `None` if the description excludes the
    /// module.
    ///
    /// Looks the module up in [`Self::overrides`], and by whole name in [`Self::skipped`]. `NamedModules` also knows
    /// the names that other tools give to a module, and patterns.
    #[must_use]
    pub fn of_module(&self, module: &str) -> Option<&WeightCoding> {
        match self.overrides.get(module) {
            Some(coding) => coding.as_ref(),
            None if self.skipped.iter().any(|skipped| skipped == module) => None,
            None => Some(&self.weights),
        }
    }

    /// Finds the description among the members of `levels`: the first that names a method or bits, or else the first of
    /// all.
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
            // AWQ stores its layout under the name `version`.
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
        let dynamic = object.get(DYNAMIC).and_then(Value::as_object).into_iter().flatten();
        let dynamic = dynamic.map(|(pattern, value)| weights.dynamic(pattern, value)).collect();
        Self {
            dynamic,
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

const BITS: &[&str] = &["bits", "num_bits", "w_bit"];
const GROUP_SIZE: &[&str] = &["group_size", "q_group_size"];

impl WeightCoding {
    fn from_object(object: &Map<String, Value>) -> Self {
        let count = |keys: &[&str]| keys.iter().find_map(|key| u32::try_from(whole(object.get(*key)?)?).ok());
        let word = |key: &str| object.get(key).and_then(lower);
        Self {
            bits: count(BITS).filter(|bits| *bits > 0),
            group_size: count(GROUP_SIZE).filter(|size| *size > 0),
            mode: word("mode"),
            kind: word("type"),
            strategy: word("strategy"),
            symmetric: flag(object, "symmetric").or_else(|| flag(object, "sym")),
        }
    }

    /// Reads one of GPTQ's patterns: `-:` excludes modules, `+:` or nothing changes what `self` states of all.
    fn dynamic(&self, pattern: &str, value: &Value) -> (String, Option<Self>) {
        if pattern.starts_with("-:") {
            return (pattern.to_owned(), None);
        }
        let mut coding = self.clone();
        if let Some(object) = value.as_object() {
            let own = Self::from_object(object);
            let has = |keys: &[&str]| keys.iter().any(|key| object.contains_key(*key));
            if has(BITS) {
                coding.bits = own.bits;
            }
            // -1 means a whole row, not the size of the others.
            if has(GROUP_SIZE) {
                coding.group_size = own.group_size;
            }
            coding.symmetric = own.symmetric.or(coding.symmetric);
        }
        (pattern.to_owned(), Some(coding))
    }

    /// Returns the properties on which all of `codings` agree, or `None` if `codings` is empty.
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

/// Returns a module's path and what MLX or `ModelOpt` state about the module. Returns `None` for a member that
/// describes no module.
fn module((name, value): (&String, &Value)) -> Option<(String, Option<WeightCoding>)> {
    let coding = match value {
        Value::Bool(false) => None,
        Value::Object(object) => Some(WeightCoding::from_object(object)),
        _ => return None,
    };
    Some((name.clone(), coding))
}

fn groups(object: &Map<String, Value>) -> BTreeMap<String, WeightGroup> {
    let listed = object.get(GROUPS).and_then(Value::as_object);
    let group = |(name, value): (&String, &Value)| {
        let group = value.as_object()?;
        let weights = group.get("weights")?.as_object()?;
        let found = WeightGroup {
            place: 0,
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

/// Returns a whole number, which may be written as a string.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// Returns two whole numbers that are not 0. They may be written as one string, such as `128x128`.
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
