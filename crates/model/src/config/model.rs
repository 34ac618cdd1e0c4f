//! Facts about a model, read from `config.json`.

use std::{collections::BTreeMap, ops::Deref};

use longshore_st_format::{Dtype, Shape};
use serde_json::{Map, Value};

use super::{
    document::{ConfigError, parse_object, text},
    keys::{AUDIO, DTYPE, STATED_LAYERS, VISION},
    quantization::SourceQuantization,
    reader::{ConfigReader, Source},
    widths::Widths,
};
use crate::{
    architecture::{self, Architecture, Architectures, row::read_facts},
    facts::{Contradiction, Facts, check, shapes},
};

/// Facts about a model, read from `config.json`.
///
/// It dereferences to its [`Facts`]. A fact is `None` if the document lacks it or gives it another type, such as a string
/// for a number; a document with only `architectures` is enough. Each fact is looked up at the top level first, and then in the nested description
/// of the language model (`text_config`, `llm_config` and similar members).
///
/// ```
/// use longshore_model::ModelConfig;
///
/// let config = ModelConfig::parse(br#"{"model_type": "llama", "text_config": {"n_layer": 32}}"#)?;
/// assert_eq!(config.architecture.as_deref(), Some("llama"));
/// assert_eq!(config.layers, Some(32));
/// # Ok::<(), longshore_model::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelConfig {
    pub(crate) facts: Facts,
    /// Where each fact comes from.
    sources: BTreeMap<&'static str, Source>,
    contradiction: Option<Contradiction>,
    /// Family of the nested language model, such as `llama4_text`.
    pub text_model_type: Option<String>,
    /// Names by which a runtime may know the model, in lower case: all of `architectures`, `model_type`, and the
    /// `model_type` under `llm_config`.
    pub identifiers: Vec<String>,
    /// Class of a diffusers component, such as `FluxTransformer2DModel`.
    pub class_name: Option<String>,
    /// Number of layers, but only as `num_hidden_layers` states it.
    pub stated_layers: Option<u64>,
    /// Whether fused expert weights are stored as `[experts, in, out]`.
    is_transposed: bool,
    /// Every size that rows of a weight may have.
    pub widths: Widths,
    /// Whether the model takes pictures: `config.json` has a `vision_config`, or its `has_vision` is true.
    pub has_vision: bool,
    /// Whether the model takes sound: `config.json` has an `audio_config` or a `sound_config`.
    pub has_audio: bool,
    /// Type of the weights, or of the weights that are not quantized (`dtype`, `torch_dtype`).
    pub dtype: Option<Dtype>,
    /// Description of how weights are quantized (`quantization`, `quantization_config`, `compression_config`).
    pub quantization: Option<SourceQuantization>,
}

impl ModelConfig {
    /// Parses the bytes of a `config.json`.
    ///
    /// `NaN`, `Infinity` and `-Infinity`, which Python's `json` writes although JSON lacks them, are read as null.
    ///
    /// # Errors
    ///
    /// [`ConfigError::TooLarge`], [`ConfigError::Json`] (also for nesting deeper than 128) or
    /// [`ConfigError::NotAnObject`]. A member of an unexpected type is not an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        Self::parse_with(bytes, Architectures::known())
    }

    /// Parses the bytes of a `config.json` with the architectures of `table`.
    ///
    /// # Errors
    ///
    /// The errors of [`ModelConfig::parse`].
    pub fn parse_with(bytes: &[u8], table: &Architectures) -> Result<Self, ConfigError> {
        let mut found = Self::from_object(&parse_object(bytes)?, table);
        if let Some(quantization) = &mut found.quantization {
            quantization.put_in_order(bytes);
        }
        Ok(found)
    }

    pub(crate) fn from_object(top: &Map<String, Value>, table: &Architectures) -> Self {
        let mut reader = ConfigReader::new(top);
        let levels: Vec<_> = reader.levels().iter().map(|level| level.members).collect();
        let nested = &levels[1..];

        let first_architecture = |level: &Map<String, Value>| text(level.get("architectures")?.get(0)?);
        let member = |level: &Map<String, Value>, key: &str| text(level.get(key)?);
        let model_type = member(top, "model_type");
        let text_model_type = nested.iter().rev().find_map(|level| member(level, "model_type"));
        let class_name = member(top, "_class_name");
        let architecture = first_architecture(top)
            .or_else(|| model_type.clone())
            .or_else(|| text_model_type.clone())
            .or_else(|| class_name.clone());
        let identifiers = identifiers(top);
        let names = identifiers.iter().chain(&text_model_type).map(String::as_str);
        let mut facts = read_facts(table.of(names.clone()), &mut reader);
        if facts.dense_layers.is_none() {
            facts.dense_layers = architecture.as_deref().and_then(architecture::dense_layers);
        }
        let is_transposed = names.clone().filter_map(|name| table.find(name)).any(Architecture::has_transposed_experts)
            || architecture::is_transposed_class(architecture.as_deref().unwrap_or_default());
        facts.architecture = architecture;
        facts.model_type = model_type;
        let has = |keys: &[&str]| levels.iter().any(|level| keys.iter().any(|key| is_object(level.get(*key))));
        let says = |key: &str| levels.iter().any(|level| level.get(key).and_then(Value::as_bool) == Some(true));
        let contradiction = if class_name.is_some() { None } else { check::config(&reader, &facts).err() };
        Self {
            contradiction,
            identifiers,
            text_model_type,
            class_name,
            stated_layers: levels.iter().find_map(|level| level.get(STATED_LAYERS)?.as_u64()),
            widths: Widths::of(&levels),
            is_transposed,
            has_vision: has(VISION) || says("has_vision"),
            has_audio: has(AUDIO),
            dtype: levels.iter().find_map(|level| float_dtype(level)),
            quantization: SourceQuantization::find(&levels),
            facts,
            sources: reader.into_sources(),
        }
    }

    /// The configuration of a model whose facts are stated elsewhere, such as in the metadata of a GGUF file. Its architecture is the
    /// only identifier, in lower case.
    #[must_use]
    pub fn of_facts(facts: Facts) -> Self {
        let identifiers = facts.architecture.iter().map(|name| name.to_lowercase()).collect();
        Self { facts, identifiers, ..Self::default() }
    }

    /// Names the places of facts by the keys that gave their members.
    pub(crate) fn rename_sources(&mut self, origins: &BTreeMap<String, String>) {
        for source in self.sources.values_mut() {
            let place = source.place();
            let top = place.split('.').next().unwrap_or_default();
            if let Some(key) = origins.get(&place).or_else(|| origins.get(top)) {
                *source = Source { path: String::new(), member: key.clone(), is_alone: true };
            }
        }
    }

    /// Makes this the configuration of a GGUF file of the architecture `name`.
    pub(crate) fn of_gguf(&mut self, name: &str) {
        self.facts.architecture = Some(name.to_owned());
        self.identifiers.insert(0, name.to_lowercase());
        self.is_transposed = false;
        // The keys are one statement of each fact.
        self.contradiction = None;
    }

    /// Whether the checkpoint stores fused expert weights as `[experts, in, out]`, as gpt-oss, Llama 4 and Qwen3-VL-MoE
    /// do.
    #[must_use]
    pub fn experts_are_transposed(&self) -> bool {
        self.is_transposed
    }

    /// Returns the facts, which the config document of a stored model repeats.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.facts.clone()
    }

    /// Returns the member that gave a fact, such as `text_config.num_attention_heads` for `heads`, or the rule that gave
    /// it. The facts of a part have its name in front, as `rope.theta`.
    #[must_use]
    pub fn source(&self, fact: &str) -> Option<String> {
        self.sources.get(fact).map(Source::place)
    }

    /// Checks that the members do not contradict each other. Members on different levels may.
    ///
    /// # Errors
    ///
    /// [`Contradiction`] if heads do not share the hidden size or the key and value heads evenly, if a list with an entry
    /// for each layer has another length, if a token uses more experts than there are, or if one fact has two values
    /// under two names.
    pub fn check(&self) -> Result<(), Contradiction> {
        self.contradiction.clone().map_or(Ok(()), Err)
    }

    /// Checks the facts against the names and shapes of tensors, like [`Facts::check_shapes`], and names the members at
    /// fault. A fact that two levels state is not checked.
    ///
    /// # Errors
    ///
    /// The error of [`Facts::check_shapes`].
    pub fn check_shapes<'a>(
        &self,
        tensors: impl IntoIterator<Item = (&'a str, &'a Shape)>,
    ) -> Result<(), Contradiction> {
        let place = |fact: &str| match self.sources.get(fact) {
            Some(source) if !source.is_alone => None,
            source => Some(source.map_or_else(|| fact.to_owned(), Source::place)),
        };
        tensors.into_iter().try_for_each(|(name, shape)| shapes::check(&self.facts, &place, name, shape))
    }

    /// Returns the role of this model in a diffusion pipeline: `vae`, `unet` or `transformer`. Returns `None` for any
    /// other model, and for the `model_index.json` of a whole pipeline.
    #[must_use]
    pub fn component(&self) -> Option<&'static str> {
        let class = self.class_name.as_deref().filter(|class| !class.ends_with("Pipeline"))?;
        Some(Self::component_of_class(class))
    }

    /// Returns the role of the diffusers class `class` in a pipeline: `vae`, `unet` or `transformer`.
    #[must_use]
    pub fn component_of_class(class: &str) -> &'static str {
        architecture::component_of_class(class)
    }
}

impl Architectures {
    /// Parses the bytes of a `config.json` with the architectures of this table.
    ///
    /// # Errors
    ///
    /// The errors of [`ModelConfig::parse`].
    pub fn parse(&self, bytes: &[u8]) -> Result<ModelConfig, ConfigError> {
        ModelConfig::parse_with(bytes, self)
    }
}

/// A configuration is its facts, and what only an import needs.
impl Deref for ModelConfig {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.facts
    }
}

/// Computes [`ModelConfig::identifiers`].
fn identifiers(top: &Map<String, Value>) -> Vec<String> {
    let architectures = top.get("architectures").and_then(Value::as_array).into_iter().flatten();
    let nested = top.get("llm_config").and_then(|level| level.get("model_type"));
    architectures.chain(top.get("model_type")).chain(nested).filter_map(text).map(|name| name.to_lowercase()).collect()
}

/// Returns the float type that a level names by torch's name for it.
fn float_dtype(level: &Map<String, Value>) -> Option<Dtype> {
    let name = DTYPE.iter().find_map(|key| level.get(*key)?.as_str())?;
    match name.strip_prefix("torch.").unwrap_or(name) {
        "float32" => Some(Dtype::F32),
        "float16" => Some(Dtype::F16),
        "bfloat16" => Some(Dtype::BF16),
        _ => None,
    }
}

fn is_object(value: Option<&Value>) -> bool {
    value.is_some_and(Value::is_object)
}
