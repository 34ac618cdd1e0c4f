//! The ways in which a source can store a tensor's values.

use longshore_manifest::document::GgmlBlocks;
use longshore_quant::{Scheme, ggml::Mapping, layout::Packing};

/// The form in which the source stores a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coding {
    /// Elements of the tensor's own type. Parts: the weight.
    Plain,
    /// F64 elements, which are rounded to F32 to be quantized. F64 that is kept is [`Self::Plain`]. Parts: the weight.
    Double,
    /// E4M3 bytes, each multiplied by the scale of its block. Parts: the weight and the scales.
    Fp8 {
        /// Rows and columns, in the last two axes, of the block that shares one scale.
        block: [u64; 2],
        /// Whether mxfp8 holds the same values: the scales are powers of two, and no group crosses a block.
        is_exact: bool,
    },
    /// Codes of a scheme, packed as MLX packs them except for names and types. Parts: codes and scales, then those of
    /// the layout.
    Packed {
        /// The scheme of the codes.
        scheme: Scheme,
        /// The parts beside codes and scales.
        layout: PackedLayout,
    },
    /// Integers of a transposed matrix, packed by AWQ or GPTQ. Parts: `qweight`, `scales`, `qzeros`, and `g_idx` if
    /// there is one.
    Transposed {
        /// The affine scheme that holds the same codes.
        scheme: Scheme,
        /// The order of the integers in their words.
        packing: Packing,
    },
    /// Blocks of one of ggml's types. Parts: the weight, with the blocks as bytes.
    Ggml {
        /// The type of the blocks.
        blocks: &'static GgmlBlocks,
    },
}

/// The parts of a packed weight beside its codes and scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PackedLayout {
    /// MLX's layout: biases if the scheme has them.
    Mlx,
    /// NVFP4 of `ModelOpt`: one scale for the whole tensor, by which values are multiplied. It may be missing.
    ModelOpt,
    /// NVFP4 of compressed-tensors: one scale for the whole tensor, by which values are divided.
    CompressedTensors,
    /// MXFP4 blocks of gpt-oss, `[experts, out, in]` where the float checkpoint has `[experts, in, out]`.
    Blocks,
    /// MXFP4 of `DeepSeek`: two codes to a byte of I8, and one E8M0 scale per group.
    Bytes,
    /// The layout of a store: biases if the scheme has them, else optionally a global scale for the tensor or for each
    /// expert.
    Stored,
    /// Symmetric integers of compressed-tensors, offset by half their range. The biases follow from the scales.
    Symmetric,
}

impl Coding {
    /// The mapping of ggml's blocks into the scheme that holds their values, if there is one.
    #[must_use]
    pub fn mapping(self) -> Option<Mapping> {
        let Self::Ggml { blocks } = self else { return None };
        Mapping::of(blocks.name.parse().ok()?)
    }

    /// The scheme that can hold the codes of the source unchanged, if there is one.
    #[must_use]
    pub fn exact_scheme(self) -> Option<Scheme> {
        match self {
            Self::Plain | Self::Double | Self::Fp8 { is_exact: false, .. } => None,
            Self::Ggml { .. } => self.mapping().map(Mapping::scheme),
            Self::Fp8 { is_exact: true, .. } => Some(Scheme::MXFP8),
            Self::Packed { scheme, .. } | Self::Transposed { scheme, .. } => Some(scheme),
        }
    }
}
