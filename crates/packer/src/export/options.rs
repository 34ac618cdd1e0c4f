//! The options of an export, and its outcome.

use std::num::NonZero;

use longshore_quant::FloatType;

/// The program that is to load an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportFormat {
    /// transformers, and all that read such checkpoints: floats under the source's names.
    #[default]
    Hf,
    /// mlx-lm: quantized modules as they are, under mlx-lm's names.
    Mlx,
}

/// The options of an export.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// The program that is to load the directory.
    pub format: ExportFormat,
    /// Decode quantized tensors to this type, in [`ExportFormat::Hf`]. Without it a model that has any is refused.
    pub dequantize: Option<FloatType>,
    /// The most bytes of tensors in a file; a larger tensor gets a file of its own.
    pub shard_bytes: u64,
    /// The number of threads; all that the machine has if `None`.
    pub threads: Option<NonZero<usize>>,
}

impl Default for ExportOptions {
    /// Nothing is decoded; files of at most 5 GB, as the hub's tools write them.
    fn default() -> Self {
        Self { format: ExportFormat::Hf, dequantize: None, shard_bytes: 5_000_000_000, threads: None }
    }
}

/// What an export wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportOutcome {
    /// The number of tensors.
    pub tensors: usize,
    /// The number of safetensors files.
    pub shards: usize,
    /// The number of companion files.
    pub files: usize,
    /// The bytes of all files.
    pub bytes: u64,
    /// Stored tensors that were left out, as the format has no place for them.
    pub left_out: usize,
}
