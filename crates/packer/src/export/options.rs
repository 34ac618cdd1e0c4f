//! The options of an export, and the outcome.

use std::{fmt, num::NonZero};

use longshore_quant::{FloatType, ggml::GgmlType};

/// The program that an export is written for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportFormat {
    /// transformers, and all programs that read such checkpoints: floats under the names of the source.
    #[default]
    Hf,
    /// mlx-lm: quantized modules with their codes unchanged, under mlx-lm's names.
    Mlx,
    /// llama.cpp and its like: the GGUF files that the model came from, byte for byte or with other types, or one that is made of
    /// it. They are called `model.gguf`, or `model-00001-of-00003.gguf` and so on.
    Gguf,
}

impl fmt::Display for ExportFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hf => "hf",
            Self::Mlx => "mlx",
            Self::Gguf => "gguf",
        })
    }
}

/// The options of an export.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// The program that will load the directory.
    pub format: ExportFormat,
    /// Decodes quantized tensors to this type, in [`ExportFormat::Hf`]. With `None`, a model that has quantized tensors
    /// is refused.
    pub dequantize: Option<FloatType>,
    /// Encodes matrices as this type, in [`ExportFormat::Gguf`]: one of [`ENCODED_TYPES`](Self::ENCODED_TYPES). With
    /// `None`, a tensor that no type of ggml holds without loss is refused.
    pub gguf_type: Option<GgmlType>,
    /// Leaves the tokenizer out of a new GGUF file.
    pub no_tokenizer: bool,
    /// The largest number of bytes of tensors in a file. A larger tensor gets its own file.
    pub shard_bytes: u64,
    /// The number of threads. `None` stands for all that the machine offers.
    pub threads: Option<NonZero<usize>>,
}

impl Default for ExportOptions {
    /// Decodes nothing, and writes files of at most 5 GB, as the tools of the hub do.
    fn default() -> Self {
        Self {
            format: ExportFormat::Hf,
            dequantize: None,
            gguf_type: None,
            no_tokenizer: false,
            shard_bytes: 5_000_000_000,
            threads: None,
        }
    }
}

impl ExportOptions {
    /// The types that matrices of a GGUF file can be encoded as.
    pub const ENCODED_TYPES: [GgmlType; 10] = [
        GgmlType::F32,
        GgmlType::F16,
        GgmlType::BF16,
        GgmlType::Q8_0,
        GgmlType::Q4_0,
        GgmlType::Q4_1,
        GgmlType::Q5_0,
        GgmlType::Q5_1,
        GgmlType::Q4K,
        GgmlType::Q6K,
    ];
}

/// The outcome of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportOutcome {
    /// Number of exported tensors.
    pub tensors: usize,
    /// Number of weight files: safetensors or GGUF.
    pub shards: usize,
    /// Number of companion files.
    pub files: usize,
    /// Length of all files in bytes.
    pub bytes: u64,
    /// Number of stored tensors that were left out because the format has no place for them.
    pub left_out: usize,
    /// Remarks for the user about tensors that are not written as asked for.
    pub notes: Vec<String>,
}
