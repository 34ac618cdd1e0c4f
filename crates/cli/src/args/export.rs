//! The arguments of `export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use longshore_manifest::ModelName;
use longshore_quant::{FloatType, ggml::GgmlType};

use super::types::{parse_float, parse_ggml_type};
use crate::candidates::{self, offers};

/// Write a model as a directory that other tools load
///
/// The form hf: a model without quantized tensors comes out as it went in: names, types and bytes of every tensor, every companion file;
/// only the cut into shards may differ. A quantized one needs --dequantize; config.json then no longer says that it is quantized.
///
/// The form mlx: quantized tensors keep their codes, under the names that mlx-lm gives them, and config.json says how they are
/// quantized. This is known for these model types: `llama`, `mistral`, `qwen2`, `qwen3`, `qwen3_moe`, `mixtral`, `gemma3_text`,
/// `gpt_oss`, `deepseek_v3`, `nemotron_h`. Tensors that mlx-lm does without, such as layers that predict further tokens, are left out.
///
/// The form gguf: a model that came from GGUF files comes back as they were, byte for byte; with --type its matrices are decoded and encoded
/// as that type, and vectors, norms and routers are F32. A tensor that was taken over into another type, and from which no way leads
/// back, needs --type. Of any other model a GGUF file is made; what no type of ggml holds without loss needs --type.
///
/// Blobs are not hashed again: `longshore verify NAME` does that.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  longshore export qwen3:4b ./out                       the checkpoint as it was
  longshore export qwen3:int4 ./out --dequantize bf16   for transformers
  longshore export qwen3:int4 ./out --format mlx        for mlx-lm
  longshore export phi:gguf ./out --format gguf --type q8_0   for llama.cpp")]
pub(crate) struct Export {
    /// The model
    pub(crate) name: ModelName,
    /// The directory to make; it must not exist yet, or be empty
    pub(crate) dir: PathBuf,
    /// Target program: hf for transformers and its like, mlx for mlx-lm, gguf for llama.cpp
    #[arg(long, value_enum, default_value = "hf", hide_possible_values = true)]
    pub(crate) format: ExportFormat,
    /// Decode quantized tensors to f32, bf16 or f16; of hf only
    #[arg(long, value_name = "D", value_parser = offers(candidates::FLOATS, parse_float))]
    #[arg(hide_possible_values = true)]
    pub(crate) dequantize: Option<FloatType>,
    /// Encode every matrix as `q8_0`, `q4_0`, `q4_1`, `q5_0`, `q5_1`, `q4_k`, `q6_k`, f16, bf16 or f32; of gguf only. Without it,
    /// what no type of ggml holds without loss is refused
    #[arg(long = "type", value_name = "T", value_parser = offers(candidates::GGML_TYPES, parse_ggml_type))]
    #[arg(hide_possible_values = true)]
    pub(crate) ggml_type: Option<GgmlType>,
    /// Write no tokenizer into a new GGUF file; of gguf only
    #[arg(long)]
    pub(crate) no_tokenizer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Hugging Face: model.safetensors and the companion files
    Hf,
    /// mlx-lm: the same with codes, scales and biases
    Mlx,
    /// llama.cpp: the GGUF files that it came from, the same with other types, or one that is made of the model
    Gguf,
}
