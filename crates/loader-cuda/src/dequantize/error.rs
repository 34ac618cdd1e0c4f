//! Errors from requests to dequantize.

use longshore_quant::Scheme;

use crate::CallError;

/// Error from dequantizing a tensor on a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DequantizeError {
    /// Rows are not whole groups.
    #[error("expected columns that are a multiple of the group of {group_size} of {scheme}, found {columns}")]
    Columns {
        /// Scheme of the tensor.
        scheme: Scheme,
        /// Elements per group.
        group_size: u32,
        /// Elements per row.
        columns: u64,
    },
    /// The tensor has more elements than a grid can cover, or a part ends beyond the last address.
    #[error(
        "expected a tensor that a grid of 2^31 - 1 blocks covers and 64 bits address, found {matrices} x {rows} x {columns} elements"
    )]
    TooLarge {
        /// Number of matrices.
        matrices: u64,
        /// Rows per matrix.
        rows: u64,
        /// Elements per row.
        columns: u64,
    },
    /// There are more matrices with their own global scales than a launch supports.
    #[error("expected at most {most} matrices with a global scale each, found {found}")]
    Matrices {
        /// Largest number of matrices with their own global scales.
        most: u32,
        /// Number of matrices.
        found: u64,
    },
    /// The address of a part that the scheme has is missing.
    #[error("expected an address for the {part} of {scheme}, found none")]
    MissingPart {
        /// `weight`, `scale`, `bias`, `global scale` or `output`.
        part: &'static str,
        /// Scheme of the tensor.
        scheme: Scheme,
    },
    /// There is an address for a part that the scheme does not have.
    #[error("expected no {part} for {scheme}, found one")]
    UnexpectedPart {
        /// `bias` or `global scale`.
        part: &'static str,
        /// Scheme of the tensor.
        scheme: Scheme,
    },
    /// An address is not aligned to the width of the accesses.
    #[error("expected the {part} at a multiple of {expected} bytes, found {address:#x}")]
    Misaligned {
        /// `weight`, `scale`, `bias`, `global scale` or `output`.
        part: &'static str,
        /// Required alignment in bytes.
        expected: u64,
        /// The misaligned address.
        address: u64,
    },
    /// The output overlaps a part, so it would be written over bytes that are still to be read.
    #[error("expected the output, {bytes} bytes at {output:#x}, apart from the {part} at {address:#x}")]
    Overlap {
        /// `weight`, `scale`, `bias` or `global scale`.
        part: &'static str,
        /// Address of the part.
        address: u64,
        /// Address of the output.
        output: u64,
        /// Length of the output in bytes.
        bytes: u64,
    },
    /// The driver refused a call.
    #[error("the driver refuses the kernel {kernel}")]
    Driver {
        /// Name of the kernel.
        kernel: &'static str,
        /// The driver's error.
        source: CallError,
    },
}
