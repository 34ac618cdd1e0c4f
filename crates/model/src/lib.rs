//! Facts about a language model, read from its configuration.
//!
//! Every model family writes its `config.json` and names its tensors in its own way. This crate reads both and gives
//! one vocabulary for all families. It opens no file and reads no weights: callers pass the bytes of documents, and the
//! names, dtypes and shapes of tensors.
//!
//! - [`Facts`] is what a decoder, a tokenizer or a planner needs of a model, and what a store keeps: sizes, heads, experts,
//!   rotation, norms and much more, each optional.
//! - [`ModelConfig`] is a parsed `config.json`: its facts with the member that gave each, and the description of
//!   quantized weights. It checks that facts contradict neither each other nor the shapes of tensors.
//! - [`ChatTemplate`] and [`Runtime`] describe what the model can do, and which prompt format a runtime uses with it.
//! - [`architecture`] is the table of architectures, to which a program can add its own.
//! - [`experts`] finds the experts of a layer by the names and shapes of tensors, and groups them.
//! - [`gguf`] translates between the names that GGUF files and checkpoints give to tensors.
//! - [`modules`] matches the modules that a description of quantized weights names against those of a checkpoint.
//! - [`mlx`] recognises weights that MLX has quantized.
//! - [`GgufConfig`] is the configuration that the metadata of a GGUF file states; [`keys_of`] makes metadata of facts.
//! - [`PipelineIndex`] is the `model_index.json` of a diffusers pipeline.
//!
//! ```
//! use longshore_model::ModelConfig;
//!
//! let config = ModelConfig::parse(br#"{"model_type": "llama", "text_config": {"n_layer": 32}}"#)?;
//! assert_eq!(config.architecture.as_deref(), Some("llama"));
//! assert_eq!(config.layers, Some(32));
//! # Ok::<(), longshore_model::ConfigError>(())
//! ```

#![forbid(unsafe_code)]

pub mod architecture;
mod config;
pub mod experts;
mod facts;
pub mod gguf;
pub mod mlx;
pub mod modules;
mod runtime;

pub use config::{
    document::{ConfigError, MAX_CONFIG_BYTES},
    keys,
    model::ModelConfig,
    pipeline::{PipelineComponent, PipelineIndex},
    quantization::{QuantizationMethod, SourceQuantization, WeightCoding, WeightGroup},
    widths::Widths,
};
pub use facts::{
    Attention, Audio, Contradiction, Facts, LatentAttention, LinearAttention, Multipliers, Norm, PerLayer, Rope,
    Router, StateSpace, Statement, Tokens, Vision,
};
pub use gguf::{GgufConfig, GgufValue, KeysError, keys_of};
pub use runtime::{fields::Runtime, template::ChatTemplate};

pub use longshore_st_format as st_format;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
