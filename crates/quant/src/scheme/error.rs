//! Errors from naming a scheme, or from using one on a tensor.

/// Error about a scheme that does not exist, or about a tensor shape that the scheme cannot encode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemeError {
    /// The request names no scheme.
    #[error(
        "expected a quantization type (int2, int3, int4, int5, int6 or int8, each with an optional -g32, -g64 or \
         -g128; nvfp4; mxfp4; mxfp8; or an alias: q4 and fp4 for int4, q8 and fp8 for int8), found {found:?}"
    )]
    Unknown {
        /// The request as found.
        found: String,
    },
    /// MLX has no affine format with this code width.
    #[error("expected 2, 3, 4, 5, 6 or 8 bits per code, found {found}")]
    Bits {
        /// Requested width in bits.
        found: u8,
    },
    /// The format does not support this group size.
    #[error("expected a group size of {expected} for {quant_type}, found {found}")]
    GroupSize {
        /// Name of the format.
        quant_type: &'static str,
        /// The supported sizes, in words.
        expected: &'static str,
        /// Requested size in elements.
        found: u32,
    },
    /// The tensor has too few dimensions.
    #[error("expected a tensor of rank 2 or more to encode as {quant_type}, found rank {rank}")]
    Rank {
        /// Name of the format.
        quant_type: &'static str,
        /// Rank of the tensor.
        rank: usize,
    },
    /// The rows of the tensor are not whole groups.
    #[error(
        "expected a last dimension that is a multiple of the group of {group_size} to encode as {quant_type}, found {last}"
    )]
    LastDimension {
        /// Name of the format.
        quant_type: &'static str,
        /// Elements per group.
        group_size: u32,
        /// Last dimension of the tensor.
        last: u64,
    },
}
