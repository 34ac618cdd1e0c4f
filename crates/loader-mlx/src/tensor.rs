//! A loaded tensor.

use crate::{Array, QuantizedTensor};

/// A loaded tensor.
#[derive(Debug, Clone)]
pub enum Tensor {
    /// The values as they are.
    Plain(Array),
    /// Codes with what decodes them.
    Quantized(QuantizedTensor),
}

impl Tensor {
    /// The values, or the packed codes.
    #[must_use]
    pub fn weight(&self) -> &Array {
        match self {
            Self::Plain(array) => array,
            Self::Quantized(quantized) => &quantized.weight,
        }
    }

    /// The parts, if it is quantized.
    #[must_use]
    pub fn quantized(&self) -> Option<&QuantizedTensor> {
        match self {
            Self::Plain(_) => None,
            Self::Quantized(quantized) => Some(quantized),
        }
    }

    /// The values, if they are not coded.
    #[must_use]
    pub fn plain(&self) -> Option<&Array> {
        match self {
            Self::Plain(array) => Some(array),
            Self::Quantized(_) => None,
        }
    }

    /// Its arrays.
    #[cfg(any(target_os = "macos", longshore_mlx))]
    pub(crate) fn arrays(&self) -> impl Iterator<Item = &Array> {
        let parts = match self {
            Self::Plain(array) => [Some(array), None, None, None],
            Self::Quantized(QuantizedTensor { weight, scale, bias, global_scale, .. }) => {
                [Some(weight), Some(scale), bias.as_ref(), global_scale.as_ref()]
            }
        };
        parts.into_iter().flatten()
    }
}
