//! The types of tensors as an argument names them.

use longshore_packer::{ExportOptions, TakeOver};
use longshore_quant::{FloatType, Scheme, ggml::GgmlType};
use longshore_st_format::Dtype;

/// Request of `--quantize`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Quantize {
    /// Floats as they are.
    None,
    /// Blocks of GGUF files in the schemes that hold their values.
    Mlx,
    Scheme(Scheme),
    /// A scheme whose group is named.
    Group(Scheme),
}

impl Quantize {
    pub(crate) fn scheme(self) -> Option<Scheme> {
        match self {
            Self::None | Self::Mlx => None,
            Self::Scheme(scheme) | Self::Group(scheme) => Some(scheme),
        }
    }

    /// The blocks of GGUF files that are taken over.
    pub(crate) fn take_over(self) -> TakeOver {
        match self {
            Self::None | Self::Scheme(_) => TakeOver::Format,
            Self::Group(_) => TakeOver::Scheme,
            Self::Mlx => TakeOver::Every,
        }
    }
}

pub(super) fn parse_quantize(text: &str) -> Result<Quantize, longshore_quant::SchemeError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "none" => Ok(Quantize::None),
        "mlx" => Ok(Quantize::Mlx),
        _ if text.contains('-') => text.parse().map(Quantize::Group),
        _ => text.parse().map(Quantize::Scheme),
    }
}

pub(super) fn parse_ggml_type(text: &str) -> Result<GgmlType, String> {
    let known = ExportOptions::ENCODED_TYPES.into_iter().find(|known| known.name().eq_ignore_ascii_case(text));
    let names = || ExportOptions::ENCODED_TYPES.map(|known| known.name().to_lowercase()).join(", ");
    known.ok_or_else(|| format!("expected one of {}", names()))
}

/// The type of tensors that a float type is.
pub(crate) fn dtype(float: FloatType) -> Dtype {
    match float {
        FloatType::F32 => Dtype::F32,
        FloatType::F16 => Dtype::F16,
        FloatType::BF16 => Dtype::BF16,
    }
}

pub(super) fn parse_float(text: &str) -> Result<FloatType, String> {
    text.to_ascii_uppercase().parse().map_err(|_| "expected f32, bf16 or f16".into())
}
