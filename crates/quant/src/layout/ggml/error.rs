//! Errors from blocks of ggml's types.

use super::GgmlType;

/// Error from decoding or encoding blocks: slices of the wrong length, or a type without an encoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GgmlError {
    /// The source is not a whole number of blocks.
    #[error("expected a source of whole blocks of {block} {unit} for {ggml_type}, found {found}")]
    PartialBlock {
        /// Type of the blocks.
        ggml_type: GgmlType,
        /// Unit of the counts: `bytes` or `elements`.
        unit: &'static str,
        /// Length of one block.
        block: usize,
        /// The source's length.
        found: usize,
    },
    /// The output has another length than the source requires.
    #[error("expected an output of {expected} {unit} for {ggml_type}, found {found}")]
    OutputLength {
        /// Type of the blocks.
        ggml_type: GgmlType,
        /// Unit of the counts: `bytes` or `elements`.
        unit: &'static str,
        /// The required length.
        expected: usize,
        /// The output's length.
        found: usize,
    },
    /// There is no encoder for the type.
    #[error("expected a type to encode, one of {}, found {ggml_type}", super::encode::NAMES)]
    NotEncoded {
        /// The type as requested.
        ggml_type: GgmlType,
    },
}
