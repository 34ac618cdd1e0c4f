//! The safetensors types that MLX has.

use longshore_st_format::Dtype;

/// The type that MLX's own loader gives elements of a safetensors type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    BF16,
    F32,
    C64,
}

impl Element {
    /// `None` for what MLX's loader refuses: F64, which no GPU of Apple has, and the small floats except for those that it gives as
    /// bytes, for its quantized modes read them so.
    pub(crate) fn of(dtype: Dtype) -> Option<Self> {
        Some(match dtype {
            Dtype::Bool => Self::Bool,
            Dtype::U8 | Dtype::F8E4M3 | Dtype::F8E8M0 => Self::U8,
            Dtype::I8 => Self::I8,
            Dtype::U16 => Self::U16,
            Dtype::I16 => Self::I16,
            Dtype::U32 => Self::U32,
            Dtype::I32 => Self::I32,
            Dtype::U64 => Self::U64,
            Dtype::I64 => Self::I64,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
            Dtype::F32 => Self::F32,
            Dtype::C64 => Self::C64,
            _ => return None,
        })
    }

    /// Bytes per element.
    pub(crate) const fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::C64 => 8,
        }
    }

    /// Whether a target type replaces it.
    pub(crate) const fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32)
    }
}
