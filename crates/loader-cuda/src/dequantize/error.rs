//! What can be wrong with a request to dequantize.

use longshore_quant::Scheme;

use crate::CallError;

/// Tensors that cannot be dequantized on a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DequantizeError {
    /// Rows are not whole groups.
    #[error("expected columns that are a multiple of the group of {group_size} of {scheme}, found {columns}")]
    Columns {
        /// The scheme.
        scheme: Scheme,
        /// Elements of a group.
        group_size: u32,
        /// Elements of a row.
        columns: u64,
    },
    /// The extents multiply to more than can be launched, or a part ends behind the last address.
    #[error(
        "expected a tensor that a grid of 2^31 - 1 blocks covers and 64 bits address, found {matrices} x {rows} x {columns} elements"
    )]
    TooLarge {
        /// The number of matrices.
        matrices: u64,
        /// Rows of a matrix.
        rows: u64,
        /// Elements of a row.
        columns: u64,
    },
    /// More matrices with a global scale each than one launch has room for.
    #[error("expected at most {most} matrices with a global scale each, found {found}")]
    Matrices {
        /// The most that a grid has.
        most: u32,
        /// The number of matrices.
        found: u64,
    },
    /// A part that the scheme has is not given.
    #[error("expected an address for the {part} of {scheme}, found none")]
    MissingPart {
        /// `weight`, `scale`, `bias`, `global scale` or `output`.
        part: &'static str,
        /// The scheme.
        scheme: Scheme,
    },
    /// A part is given that the scheme does not have.
    #[error("expected no {part} for {scheme}, found one")]
    UnexpectedPart {
        /// `bias` or `global scale`.
        part: &'static str,
        /// The scheme.
        scheme: Scheme,
    },
    /// An address does not suit the width of the accesses.
    #[error("expected the {part} at a multiple of {expected} bytes, found {address:#x}")]
    Misaligned {
        /// `weight`, `scale`, `bias`, `global scale` or `output`.
        part: &'static str,
        /// The alignment, in bytes.
        expected: u64,
        /// The address.
        address: u64,
    },
    /// The output would be written over a part that is still to be read.
    #[error("expected the output, {bytes} bytes at {output:#x}, apart from the {part} at {address:#x}")]
    Overlap {
        /// `weight`, `scale`, `bias` or `global scale`.
        part: &'static str,
        /// Where that part lies.
        address: u64,
        /// Where the output lies.
        output: u64,
        /// The length of the output.
        bytes: u64,
    },
    /// The driver refuses a call.
    #[error("the driver refuses the kernel {kernel}")]
    Driver {
        /// The kernel that was asked for.
        kernel: &'static str,
        /// What the driver answered.
        source: CallError,
    },
}
