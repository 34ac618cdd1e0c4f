//! The ways in which a source can store a tensor's values.

use longshore_quant::{Scheme, layout::Packing};

/// How the source stores a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coding {
    /// As elements of the tensor's own type. One source.
    Plain,
    /// As F64, which becomes F32. One source.
    Double,
    /// As E4M3 bytes, each times the scale of its block. Sources: the weight and its scales.
    Fp8 {
        /// Rows and columns of the last two axes that share a scale.
        block: [u64; 2],
        /// Whether mxfp8 holds the same values: its scales are powers of two, and those of whole groups.
        is_exact: bool,
    },
    /// As codes of a scheme, packed as in MLX but for names and types. Sources: codes and scales, then what the layout has.
    Packed {
        /// The scheme of the codes.
        scheme: Scheme,
        /// What else there is.
        layout: PackedLayout,
    },
    /// As integers of a transposed matrix, in the way of AWQ or GPTQ. Sources: `qweight`, `scales`, `qzeros`, and `g_idx` where
    /// there is one.
    Transposed {
        /// The affine scheme with the same codes.
        scheme: Scheme,
        /// How they are packed.
        packing: Packing,
    },
}

/// What a packed weight has beside its codes and scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PackedLayout {
    /// MLX's own: biases if the scheme has them.
    Mlx,
    /// `ModelOpt`'s NVFP4: one scale for the tensor, which multiplies; none if it is missing.
    ModelOpt,
    /// compressed-tensors' NVFP4: one scale for the tensor, which divides.
    CompressedTensors,
    /// gpt-oss's MXFP4 blocks, `[experts, out, in]` where the float checkpoint has `[experts, in, out]`.
    Blocks,
    /// A store's own: biases if the scheme has them, else a global scale, for all or for each expert, if there is one.
    Stored,
    /// compressed-tensors' symmetric integers, offset by half their range: biases follow from the scales.
    Symmetric,
}

impl Coding {
    /// The scheme in which the source's own codes can be kept.
    #[must_use]
    pub fn exact_scheme(self) -> Option<Scheme> {
        match self {
            Self::Plain | Self::Double | Self::Fp8 { is_exact: false, .. } => None,
            Self::Fp8 { is_exact: true, .. } => Some(Scheme::MXFP8),
            Self::Packed { scheme, .. } | Self::Transposed { scheme, .. } => Some(scheme),
        }
    }
}
