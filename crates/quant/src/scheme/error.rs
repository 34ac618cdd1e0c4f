//! What can be wrong with a scheme, or with the tensor that it is to be used on.

/// A scheme that does not exist, or a tensor shape that it cannot encode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemeError {
    /// A request that names no scheme.
    #[error(
        "expected a quantization type (int2, int3, int4, int5, int6 or int8, each with an optional -g32, -g64 or \
         -g128; nvfp4; mxfp4; mxfp8; or an alias: q4 and fp4 for int4, q8 and fp8 for int8), found {found:?}"
    )]
    Unknown {
        /// What was asked for.
        found: String,
    },
    /// An affine code width that MLX does not have.
    #[error("expected 2, 3, 4, 5, 6 or 8 bits per code, found {found}")]
    Bits {
        /// The width asked for, in bits.
        found: u8,
    },
    /// A group size that the format does not have.
    #[error("expected a group size of {expected} for {quant_type}, found {found}")]
    GroupSize {
        /// The format's name.
        quant_type: &'static str,
        /// The sizes that it has, in words.
        expected: &'static str,
        /// The size asked for, in elements.
        found: u32,
    },
    /// A tensor of too few dimensions.
    #[error("expected a tensor of rank 2 or more to encode as {quant_type}, found rank {rank}")]
    Rank {
        /// The format's name.
        quant_type: &'static str,
        /// The tensor's rank.
        rank: usize,
    },
    /// A tensor whose rows are not whole groups.
    #[error(
        "expected a last dimension that is a multiple of the group of {group_size} to encode as {quant_type}, found {last}"
    )]
    LastDimension {
        /// The format's name.
        quant_type: &'static str,
        /// Elements per group.
        group_size: u32,
        /// The tensor's last dimension.
        last: u64,
    },
}
