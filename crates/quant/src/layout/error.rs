//! Errors from reading published layouts.

/// Error from decoding or repacking a published layout: buffers of the wrong size, or values that a format cannot hold.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A part or a buffer has the wrong length.
    #[error("expected {expected} bytes of {part}, found {found}")]
    Length {
        /// Name of the part or the buffer.
        part: &'static str,
        /// The required length in bytes.
        expected: usize,
        /// The actual length in bytes.
        found: usize,
    },
    /// A buffer is not a whole number of rows.
    #[error("expected whole rows of {row} bytes of {part}, found {found} bytes")]
    PartialRow {
        /// Name of the part or the buffer.
        part: &'static str,
        /// Bytes per row.
        row: usize,
        /// The actual length in bytes.
        found: usize,
    },
    /// The requested rows go beyond the last row.
    #[error("expected rows below {rows}, found rows {first} to {end}")]
    Rows {
        /// Number of rows of the matrix.
        rows: usize,
        /// First requested row.
        first: usize,
        /// One past the last requested row.
        end: usize,
    },
    /// A dimension is zero, or is not a multiple of the required number.
    #[error("expected {what} to be a positive multiple of {multiple}, found {found}")]
    Dimension {
        /// Name of the dimension.
        what: &'static str,
        /// Number that must divide the dimension, in elements.
        multiple: usize,
        /// Size of the dimension in elements.
        found: usize,
    },
    /// The product of two dimensions does not fit in memory.
    #[error("expected {what} to fit in memory, found {} × {}", factors[0], factors[1])]
    TooLarge {
        /// Name of the thing with these dimensions.
        what: &'static str,
        /// The two dimensions.
        factors: [usize; 2],
    },
    /// The packing does not support this code width.
    #[error("expected 4 bits per code, or for GPTQ 2, 4 or 8, found {found}")]
    Bits {
        /// Bits per code.
        found: u8,
    },
    /// A scale is not a power of two from 2^-127 to 2^127.
    #[error("expected a power of two as the scale of block {block}, found {found}")]
    ScaleNotPowerOfTwo {
        /// Index of the block, row-major.
        block: usize,
        /// Scale of the block.
        found: f32,
    },
    /// No format of MLX can hold the layout exactly.
    #[error("expected {expected} to repack without loss, found {found}")]
    Lossy {
        /// The layout that would fit.
        expected: &'static str,
        /// The layout as found.
        found: String,
    },
    /// A group index is beyond the last group.
    #[error("expected a group below {groups} for input {input}, found {found}")]
    GroupIndex {
        /// Input channel: the column of the weight matrix.
        input: usize,
        /// Number of groups.
        groups: usize,
        /// The group index as found.
        found: i32,
    },
}

/// Multiplies two dimensions. Both must be at least one.
pub(super) fn product(what: &'static str, factors: [usize; 2]) -> Result<usize, LayoutError> {
    match factors[0].checked_mul(factors[1]) {
        Some(0) => Err(LayoutError::Dimension { what, multiple: 1, found: 0 }),
        Some(product) => Ok(product),
        None => Err(LayoutError::TooLarge { what, factors }),
    }
}

/// Checks that `found` bytes are the `expected` ones.
pub(super) fn expect_len(part: &'static str, expected: usize, found: usize) -> Result<(), LayoutError> {
    if expected == found { Ok(()) } else { Err(LayoutError::Length { part, expected, found }) }
}

/// Returns the number of rows of `row` bytes in `len` bytes. Checks that the rows are whole, and that they lie below
/// `rows` where they begin at row `first`.
pub(super) fn expect_rows(
    part: &'static str,
    row: usize,
    len: usize,
    first: usize,
    rows: usize,
) -> Result<usize, LayoutError> {
    if !len.is_multiple_of(row) {
        return Err(LayoutError::PartialRow { part, row, found: len });
    }
    let count = len / row;
    let end = first.saturating_add(count);
    if end > rows { Err(LayoutError::Rows { rows, first, end }) } else { Ok(count) }
}
