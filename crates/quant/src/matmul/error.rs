//! Errors from products whose lengths do not fit.

use crate::{SchemeError, ggml::GgmlType};

/// Error about weights, inputs or outputs that do not fit each other. Nothing has been written then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatmulError {
    /// The rows of the weights are not whole groups.
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    /// The rows of the weights are not whole blocks.
    #[error("expected rows of whole blocks of {block} elements for {ggml_type}, found {columns}")]
    PartialBlock {
        /// The type of the blocks.
        ggml_type: GgmlType,
        /// Elements of a block.
        block: usize,
        /// Elements of a row.
        columns: usize,
    },
    /// A part of the weights has another length than its shape requires.
    #[error("expected {expected} bytes of {part} for weights of {rows} × {columns}, found {found}")]
    PartLength {
        /// `weight`, `scale` or `bias`.
        part: &'static str,
        /// Rows of the weights.
        rows: usize,
        /// Elements of a row.
        columns: usize,
        /// The required length in bytes.
        expected: usize,
        /// The part's length in bytes.
        found: usize,
    },
    /// The length of a part, an input or an output does not fit in memory.
    #[error("expected sizes that fit in memory, found {rows} rows of {columns}")]
    TooLarge {
        /// Number of rows.
        rows: usize,
        /// Elements of a row.
        columns: usize,
    },
    /// The input has another length than the weights and the number of rows require.
    #[error("expected an input of {expected} numbers ({rows} rows of {columns}), found {found}")]
    InputLength {
        /// Rows of the input.
        rows: usize,
        /// Elements of a row: the columns of the weights.
        columns: usize,
        /// The required length.
        expected: usize,
        /// The input's length.
        found: usize,
    },
    /// The output has another length than the weights and the number of rows require.
    #[error("expected an output of {expected} numbers ({rows} rows of {columns}), found {found}")]
    OutputLength {
        /// Rows of the output.
        rows: usize,
        /// Elements of a row.
        columns: usize,
        /// The required length.
        expected: usize,
        /// The output's length.
        found: usize,
    },
    /// A row does not exist.
    #[error("expected a row of {what} below {rows}, found {found}")]
    Row {
        /// `the weights` or `the input`.
        what: &'static str,
        /// The number of rows that there are.
        rows: usize,
        /// The row as asked for.
        found: usize,
    },
    /// A range of rows does not exist.
    #[error("expected a range of rows within 0..{rows}, found {start}..{end}")]
    Range {
        /// The number of rows that there are.
        rows: usize,
        /// Start of the range.
        start: usize,
        /// End of the range.
        end: usize,
    },
    /// The rows of stacked weights cannot be divided by the number of experts.
    #[error("expected weights whose {rows} rows are divided by {experts} experts")]
    Experts {
        /// Rows of the weights.
        rows: usize,
        /// The number of experts.
        experts: usize,
    },
    /// An expert does not exist.
    #[error("expected an expert below {experts}, found {found}")]
    Expert {
        /// The number of experts.
        experts: usize,
        /// The expert as asked for.
        found: usize,
    },
}
