//! What `config.json` says about a model.

mod lenient;
mod quantization;

use longshore_manifest::document::Facts;
use longshore_st_format::Dtype;
pub use quantization::{QuantizationMethod, SourceQuantization, WeightCoding, WeightGroup};
use serde_json::{Map, Value};

/// The largest `config.json` that is read, in bytes. Real ones are below 100 KiB.
pub const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// The facts that planning and display need from a model's `config.json`.
///
/// A field that the document lacks, or has with another type than a whole number, is `None`: a document with nothing
/// but `architectures` is enough. A field is looked for at the top level and then in the nested description of the
/// language model (`text_config`, `llm_config` and their like).
///
/// ```
/// use longshore_packer::ModelConfig;
///
/// let config = ModelConfig::parse(br#"{"model_type": "llama", "text_config": {"n_layer": 32}}"#)?;
/// assert_eq!(config.architecture.as_deref(), Some("llama"));
/// assert_eq!(config.layers, Some(32));
/// # Ok::<(), longshore_packer::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelConfig {
    /// What the model is, such as `LlamaForCausalLM`: the first of `architectures`, else `model_type`, else the nested
    /// `model_type`, else the `_class_name` of a diffusers component.
    pub architecture: Option<String>,
    /// The family, such as `llama`.
    pub model_type: Option<String>,
    /// The family of the nested language model, such as `llama4_text`.
    pub text_model_type: Option<String>,
    /// The class of a diffusers component, such as `FluxTransformer2DModel`.
    pub class_name: Option<String>,
    /// Transformer layers, or blocks.
    pub layers: Option<u64>,
    /// Elements of the residual stream.
    pub hidden_size: Option<u64>,
    /// Elements between the two projections of a dense feed-forward block.
    pub intermediate_size: Option<u64>,
    /// Query heads per layer.
    pub heads: Option<u64>,
    /// Key and value heads per layer.
    pub kv_heads: Option<u64>,
    /// Elements per head.
    pub head_dim: Option<u64>,
    /// Routed experts per layer.
    pub experts: Option<u64>,
    /// Routed experts that one token uses.
    pub experts_per_token: Option<u64>,
    /// Tokens of the longest context.
    pub context_length: Option<u64>,
    /// Tokens of the vocabulary.
    pub vocab_size: Option<u64>,
    /// Whether the output head is the token embedding.
    pub tied_embeddings: Option<bool>,
    /// The type of the weights, or of those that are not quantized (`dtype`, `torch_dtype`).
    pub dtype: Option<Dtype>,
    /// How the document says that weights are quantized (`quantization`, `quantization_config`, `compression_config`).
    pub quantization: Option<SourceQuantization>,
}

/// Why a document is not a [`ModelConfig`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The document is longer than [`MAX_CONFIG_BYTES`].
    #[error("it has {found} bytes, more than the {MAX_CONFIG_BYTES} that are read")]
    TooLarge {
        /// Its length in bytes.
        found: u64,
    },
    /// The bytes are not JSON.
    #[error("it is not JSON")]
    Json {
        /// What the parser found, and where.
        source: serde_json::Error,
    },
    /// The JSON is not an object.
    #[error("expected a JSON object, found {found}")]
    NotAnObject {
        /// The kind of value found.
        found: &'static str,
    },
}

/// Members that hold the language model of a larger one, in the order in which they are looked into.
const NESTED: &[&str] = &["text_config", "llm_config", "language_config", "language_model_config"];

const LAYERS: &[&str] = &["num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_blocks"];
/// Lists and patterns with one entry for each layer, where no number says how many there are.
const LAYER_LISTS: &[&str] = &["layers_block_type", "layer_types", "hybrid_override_pattern"];
const HIDDEN: &[&str] = &["hidden_size", "n_embd", "d_model", "dim"];
const INTERMEDIATE: &[&str] = &["intermediate_size", "n_inner", "ffn_hidden_size", "ffn_dim", "d_ff"];
const HEADS: &[&str] = &["num_attention_heads", "n_head", "n_heads", "num_heads"];
const KV_HEADS: &[&str] = &["num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_head_kv", "multi_query_group_num"];
const HEAD_DIM: &[&str] = &["head_dim", "d_kv", "attention_head_dim", "kv_channels"];
const EXPERTS: &[&str] = &[
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "num_routed_experts",
    "moe_num_experts",
    "moe_num_primary_experts",
];
const EXPERTS_PER_TOKEN: &[&str] = &[
    "num_experts_per_tok",
    "num_experts_per_token",
    "top_k_experts",
    "moe_top_k",
    "moe_topk",
    "moe_k",
    "moe_num_active_primary_experts",
];
const CONTEXT: &[&str] = &[
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
    "model_max_length",
];
const VOCAB: &[&str] = &["vocab_size", "padded_vocab_size", "n_vocab"];

impl ModelConfig {
    /// Reads the document's bytes.
    ///
    /// `NaN`, `Infinity` and `-Infinity`, which Python's `json` writes for such numbers, are read as null.
    ///
    /// # Errors
    ///
    /// [`ConfigError::TooLarge`], [`ConfigError::Json`] (nesting deeper than 128 included) or
    /// [`ConfigError::NotAnObject`]. A member of an unexpected type is no error.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        Ok(Self::from_object(&parse_object(bytes)?))
    }

    fn from_object(top: &Map<String, Value>) -> Self {
        let nested = NESTED.iter().find_map(|key| top.get(*key)?.as_object());
        let levels: Vec<_> = std::iter::once(top).chain(nested).collect();
        let number =
            |keys: &[&str]| levels.iter().find_map(|level| keys.iter().find_map(|key| level.get(*key)?.as_u64()));

        let first_architecture = |level: &Map<String, Value>| text(level.get("architectures")?.get(0)?);
        let member = |level: &Map<String, Value>, key: &str| text(level.get(key)?);
        let model_type = member(top, "model_type");
        let text_model_type = nested.and_then(|level| member(level, "model_type"));
        let class_name = member(top, "_class_name");
        Self {
            architecture: first_architecture(top)
                .or_else(|| model_type.clone())
                .or_else(|| text_model_type.clone())
                .or_else(|| class_name.clone()),
            model_type,
            text_model_type,
            class_name,
            layers: number(LAYERS).or_else(|| levels.iter().find_map(|level| listed_layers(level))),
            hidden_size: number(HIDDEN),
            intermediate_size: number(INTERMEDIATE),
            heads: number(HEADS),
            kv_heads: number(KV_HEADS),
            head_dim: number(HEAD_DIM),
            experts: number(EXPERTS),
            experts_per_token: number(EXPERTS_PER_TOKEN),
            context_length: number(CONTEXT),
            vocab_size: number(VOCAB),
            tied_embeddings: levels.iter().find_map(|level| level.get("tie_word_embeddings")?.as_bool()),
            dtype: levels.iter().find_map(|level| float_dtype(level)),
            quantization: SourceQuantization::find(&levels),
        }
    }

    /// Whether the checkpoint's fused expert weights are stored as `[experts, in, out]`, as gpt-oss and Llama 4 do.
    #[must_use]
    pub fn experts_are_transposed(&self) -> bool {
        let family = |name: &Option<String>| {
            name.as_deref().is_some_and(|name| matches!(name, "gpt_oss" | "llama4" | "llama4_text"))
        };
        let class = self.architecture.as_deref().unwrap_or_default();
        family(&self.model_type)
            || family(&self.text_model_type)
            || ["GptOss", "Llama4"].iter().any(|prefix| class.starts_with(prefix))
            || family(&self.architecture)
    }

    /// The facts that a stored model's configuration repeats.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts {
            architecture: self.architecture.clone(),
            layers: self.layers,
            hidden_size: self.hidden_size,
            heads: self.heads,
            kv_heads: self.kv_heads,
            experts: self.experts,
            experts_per_token: self.experts_per_token,
            context_length: self.context_length,
            vocabulary: self.vocab_size,
        }
    }

    /// Which part of a diffusion pipeline this is: `vae`, `unet` or `transformer`. `None` for any other model, and for the
    /// `model_index.json` of a whole pipeline.
    #[must_use]
    pub fn component(&self) -> Option<&'static str> {
        let class = self.class_name.as_deref().filter(|class| !class.ends_with("Pipeline"))?;
        Some(if class.contains("Autoencoder") || class.contains("VAE") || class.starts_with("VQ") {
            "vae"
        } else if class.starts_with("UNet") {
            "unet"
        } else {
            "transformer"
        })
    }
}

/// Reads a JSON object, with Python's words for numbers that JSON lacks.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, ConfigError> {
    let found = bytes.len() as u64;
    if found > MAX_CONFIG_BYTES {
        return Err(ConfigError::TooLarge { found });
    }
    match serde_json::from_slice(&lenient::strict(bytes)).map_err(|source| ConfigError::Json { source })? {
        Value::Object(object) => Ok(object),
        other => Err(ConfigError::NotAnObject { found: kind_of(&other) }),
    }
}

/// The float type that a document names, as torch does.
fn float_dtype(level: &Map<String, Value>) -> Option<Dtype> {
    let name = ["dtype", "torch_dtype"].iter().find_map(|key| level.get(*key)?.as_str())?;
    match name.strip_prefix("torch.").unwrap_or(name) {
        "float32" => Some(Dtype::F32),
        "float16" => Some(Dtype::F16),
        "bfloat16" => Some(Dtype::BF16),
        _ => None,
    }
}

/// A text that is not empty.
fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn listed_layers(level: &Map<String, Value>) -> Option<u64> {
    LAYER_LISTS.iter().find_map(|key| match level.get(*key)? {
        Value::Array(entries) => Some(entries.len() as u64),
        Value::String(pattern) => Some(pattern.chars().count() as u64),
        _ => None,
    })
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
