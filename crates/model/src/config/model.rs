//! Facts about a model, read from `config.json`.

use longshore_st_format::Dtype;
use serde_json::{Map, Value};

use super::{
    document::{ConfigError, parse_object, text},
    keys::{
        AUDIO, CONTEXT, DECODER_LAYERS, DTYPE, EXPERT_INTERMEDIATE, EXPERTS, EXPERTS_PER_TOKEN, HEAD_DIM, HEADS,
        HIDDEN, INTERMEDIATE, KV_HEADS, LAYER_LISTS, LAYERS, NESTED, NESTING, SHARED_EXPERTS, STATED_LAYERS, VISION,
        VOCAB,
    },
    quantization::SourceQuantization,
    rope,
    widths::Widths,
};

use crate::{
    architecture,
    facts::{Facts, Rope},
};

/// Facts about a model, read from `config.json`.
///
/// A field is `None` if the document lacks it or gives it another type, such as a string for a number; a document with
/// only `architectures` is enough. Each field is looked up at the top level first, and then in the nested description
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
    /// Name of the architecture, such as `LlamaForCausalLM`: the first of `architectures`, else `model_type`, else the
    /// nested `model_type`, else the `_class_name` of a diffusers component.
    pub architecture: Option<String>,
    /// Model family, such as `llama`.
    pub model_type: Option<String>,
    /// Family of the nested language model, such as `llama4_text`.
    pub text_model_type: Option<String>,
    /// Names by which a runtime may know the model, in lower case: all of `architectures`, `model_type`, and the
    /// `model_type` under `llm_config`.
    pub identifiers: Vec<String>,
    /// Class of a diffusers component, such as `FluxTransformer2DModel`.
    pub class_name: Option<String>,
    /// Number of transformer layers or blocks. For a model with an encoder and a decoder, the number of encoder layers.
    pub layers: Option<u64>,
    /// The same, but only as `num_hidden_layers` states it.
    pub stated_layers: Option<u64>,
    /// Number of decoder layers of a model that also has an encoder.
    pub decoder_layers: Option<u64>,
    /// Hidden size: elements of the residual stream.
    pub hidden_size: Option<u64>,
    /// Elements between the two projections of a dense feed-forward block.
    pub intermediate_size: Option<u64>,
    /// Elements between the two projections of one routed expert.
    pub expert_intermediate_size: Option<u64>,
    /// Every size that rows of a weight may have.
    pub widths: Widths,
    /// Number of query heads per layer.
    pub heads: Option<u64>,
    /// Number of key and value heads per layer.
    pub kv_heads: Option<u64>,
    /// Number of elements per head.
    pub head_dim: Option<u64>,
    /// Number of routed experts per layer.
    pub experts: Option<u64>,
    /// Number of routed experts that one token uses.
    pub experts_per_token: Option<u64>,
    /// Number of experts that every token uses in addition to its routed experts.
    pub shared_experts: Option<u64>,
    /// Layers that have one feed-forward block instead of experts, in ascending order. They are the `dense` entries of
    /// `mlp_layer_types`, the entries of `mlp_only_layers`, and the layers before `first_k_dense_replace`. If the
    /// document names none, a Laguna model has layer 0 here and any other model `None`.
    pub dense_layers: Option<Vec<u64>>,
    /// Longest context, in tokens.
    pub context_length: Option<u64>,
    /// Size of the vocabulary, in tokens.
    pub vocab_size: Option<u64>,
    /// Rotary position embedding: how positions become rotations of queries and keys.
    pub rope: Option<Rope>,
    /// Whether the model takes pictures: `config.json` has a `vision_config`, or its `has_vision` is true.
    pub has_vision: bool,
    /// Whether the model takes sound: `config.json` has an `audio_config` or a `sound_config`.
    pub has_audio: bool,
    /// Whether the output head shares the weights of the token embedding.
    pub tied_embeddings: Option<bool>,
    /// Type of the weights, or of the weights that are not quantized (`dtype`, `torch_dtype`).
    pub dtype: Option<Dtype>,
    /// Description of how weights are quantized (`quantization`, `quantization_config`, `compression_config`).
    pub quantization: Option<SourceQuantization>,
}

/// Largest `first_k_dense_replace` that counts. The values of published models are far smaller.
const MAX_DENSE: u64 = 4096;

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
        let mut found = Self::from_object(&parse_object(bytes)?);
        if let Some(quantization) = &mut found.quantization {
            quantization.put_in_order(bytes);
        }
        Ok(found)
    }

    pub(crate) fn from_object(top: &Map<String, Value>) -> Self {
        let levels = levels(top);
        let nested = &levels[1..];
        let number =
            |keys: &[&str]| levels.iter().find_map(|level| keys.iter().find_map(|key| level.get(*key)?.as_u64()));

        let first_architecture = |level: &Map<String, Value>| text(level.get("architectures")?.get(0)?);
        let member = |level: &Map<String, Value>, key: &str| text(level.get(key)?);
        let model_type = member(top, "model_type");
        let text_model_type = nested.iter().rev().find_map(|level| member(level, "model_type"));
        let class_name = member(top, "_class_name");
        let architecture = first_architecture(top)
            .or_else(|| model_type.clone())
            .or_else(|| text_model_type.clone())
            .or_else(|| class_name.clone());
        let has = |keys: &[&str]| levels.iter().any(|level| keys.iter().any(|key| is_object(level.get(*key))));
        let says = |key: &str| levels.iter().any(|level| level.get(key).and_then(Value::as_bool) == Some(true));
        Self {
            dense_layers: dense_layers(&levels).or_else(|| architecture::dense_layers(architecture.as_deref()?)),
            identifiers: identifiers(top),
            architecture,
            model_type,
            text_model_type,
            class_name,
            layers: number(LAYERS).or_else(|| levels.iter().find_map(|level| listed_layers(level))),
            stated_layers: number(&[STATED_LAYERS]),
            decoder_layers: number(DECODER_LAYERS),
            hidden_size: number(HIDDEN),
            intermediate_size: number(INTERMEDIATE),
            expert_intermediate_size: number(EXPERT_INTERMEDIATE),
            widths: Widths::of(&levels),
            heads: number(HEADS),
            kv_heads: number(KV_HEADS),
            head_dim: number(HEAD_DIM),
            experts: number(EXPERTS),
            experts_per_token: number(EXPERTS_PER_TOKEN),
            shared_experts: number(SHARED_EXPERTS),
            context_length: number(CONTEXT),
            vocab_size: number(VOCAB),
            rope: rope::read(&levels),
            has_vision: has(VISION) || says("has_vision"),
            has_audio: has(AUDIO),
            tied_embeddings: levels.iter().find_map(|level| level.get("tie_word_embeddings")?.as_bool()),
            dtype: levels.iter().find_map(|level| float_dtype(level)),
            quantization: SourceQuantization::find(&levels),
        }
    }

    /// Whether the checkpoint stores fused expert weights as `[experts, in, out]`, as gpt-oss, Llama 4 and Qwen3-VL-MoE
    /// do.
    #[must_use]
    pub fn experts_are_transposed(&self) -> bool {
        let names = [&self.model_type, &self.text_model_type, &self.architecture];
        let mut names = names.into_iter().flatten();
        let class = self.architecture.as_deref().unwrap_or_default();
        names.any(|name| architecture::is_transposed_family(name)) || architecture::is_transposed_class(class)
    }

    /// Returns the facts that the config document of a stored model repeats.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts {
            architecture: self.architecture.clone(),
            model_type: self.model_type.clone(),
            layers: self.layers,
            decoder_layers: self.decoder_layers,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            experts: self.experts,
            experts_per_token: self.experts_per_token,
            shared_experts: self.shared_experts,
            context_length: self.context_length,
            rope: self.rope.clone(),
            vocabulary: self.vocab_size,
            ..Facts::default()
        }
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

/// Returns the document and the nested descriptions of its language model, outermost first.
fn levels(top: &Map<String, Value>) -> Vec<&Map<String, Value>> {
    let mut levels = vec![top];
    while let Some(inner) = levels.last().and_then(|level| NESTED.iter().find_map(|key| level.get(*key)?.as_object())) {
        levels.push(inner);
        if levels.len() > NESTING {
            break;
        }
    }
    levels
}

/// Computes [`ModelConfig::identifiers`].
fn identifiers(top: &Map<String, Value>) -> Vec<String> {
    let architectures = top.get("architectures").and_then(Value::as_array).into_iter().flatten();
    let nested = top.get("llm_config").and_then(|level| level.get("model_type"));
    architectures.chain(top.get("model_type")).chain(nested).filter_map(text).map(|name| name.to_lowercase()).collect()
}

/// Computes [`ModelConfig::dense_layers`]. Returns `None` if no level describes them.
fn dense_layers(levels: &[&Map<String, Value>]) -> Option<Vec<u64>> {
    let member = |key: &str| levels.iter().find_map(|level| level.get(key));
    let types = member("mlp_layer_types").and_then(Value::as_array);
    let listed = member("mlp_only_layers").and_then(Value::as_array);
    let first = member("first_k_dense_replace").and_then(Value::as_u64);
    if types.is_none() && listed.is_none() && first.is_none() {
        return None;
    }
    let of_types = (0..).zip(types.into_iter().flatten()).filter(|(_, kind)| kind.as_str() == Some("dense"));
    let mut dense: Vec<u64> = of_types.map(|(at, _)| at).chain(0..first.unwrap_or(0).min(MAX_DENSE)).collect();
    dense.extend(listed.into_iter().flatten().filter_map(Value::as_u64));
    dense.sort_unstable();
    dense.dedup();
    Some(dense)
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

fn listed_layers(level: &Map<String, Value>) -> Option<u64> {
    LAYER_LISTS.iter().find_map(|key| match level.get(*key)? {
        Value::Array(entries) => Some(entries.len() as u64),
        Value::String(pattern) => Some(pattern.chars().count() as u64),
        _ => None,
    })
}
