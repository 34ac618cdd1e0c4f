//! What can be wrong with a published layout.

/// Parts that do not fit each other, or numbers that a format cannot hold.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A part, or a buffer, is too short or too long.
    #[error("expected {expected} bytes of {part}, found {found}")]
    Length {
        /// What it is.
        part: &'static str,
        /// The length that fits, in bytes.
        expected: usize,
        /// Its length in bytes.
        found: usize,
    },
    /// A buffer is not a whole number of rows.
    #[error("expected whole rows of {row} bytes of {part}, found {found} bytes")]
    PartialRow {
        /// What it is.
        part: &'static str,
        /// Bytes per row.
        row: usize,
        /// Its length in bytes.
        found: usize,
    },
    /// Rows beyond the last.
    #[error("expected rows below {rows}, found rows {first} to {end}")]
    Rows {
        /// The number of rows that there are.
        rows: usize,
        /// The first row asked for.
        first: usize,
        /// The row after the last one asked for.
        end: usize,
    },
    /// A dimension is zero, or not divisible by what it must be.
    #[error("expected {what} to be a positive multiple of {multiple}, found {found}")]
    Dimension {
        /// Which dimension.
        what: &'static str,
        /// What should divide it, in elements.
        multiple: usize,
        /// Its size in elements.
        found: usize,
    },
    /// Dimensions whose product is more than any memory.
    #[error("expected {what} to fit in memory, found {} × {}", factors[0], factors[1])]
    TooLarge {
        /// What has them.
        what: &'static str,
        /// The dimensions.
        factors: [usize; 2],
    },
    /// A width that is not packed in this way.
    #[error("expected codes of 4 bits, or in GPTQ 2, 4 or 8, found {found}")]
    Bits {
        /// Bits per code.
        found: u8,
    },
    /// A scale is no power of two from 2^-127 to 2^127.
    #[error("expected a power of two as the scale of block {block}, found {found}")]
    ScaleNotPowerOfTwo {
        /// The index of the block, row-major.
        block: usize,
        /// Its scale.
        found: f32,
    },
    /// A layout that no format of MLX can hold exactly.
    #[error("expected {expected} to repack without loss, found {found}")]
    Lossy {
        /// What would fit.
        expected: &'static str,
        /// What there is.
        found: String,
    },
    /// A group index beyond the last group.
    #[error("expected a group below {groups} for input {input}, found {found}")]
    GroupIndex {
        /// The column of the weight matrix.
        input: usize,
        /// The number of groups.
        groups: usize,
        /// The index.
        found: i32,
    },
}

/// The product of dimensions, each at least one.
pub(super) fn product(what: &'static str, factors: [usize; 2]) -> Result<usize, LayoutError> {
    match factors[0].checked_mul(factors[1]) {
        Some(0) => Err(LayoutError::Dimension { what, multiple: 1, found: 0 }),
        Some(product) => Ok(product),
        None => Err(LayoutError::TooLarge { what, factors }),
    }
}

/// Checks a length.
pub(super) fn expect_len(part: &'static str, expected: usize, found: usize) -> Result<(), LayoutError> {
    if expected == found { Ok(()) } else { Err(LayoutError::Length { part, expected, found }) }
}

/// How many rows of `row` bytes `len` bytes are, if they lie below `rows` when they begin at `first`.
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
