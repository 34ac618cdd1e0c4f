//! Quantized weights that cannot be imported.

use longshore_st_format::{Dtype, Shape};

/// A quantized weight that cannot be imported. [`Self::hint`] says what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodingError {
    /// Weights in this packing are not read.
    #[error("tensor {tensor:?} of dtype {dtype} is {packing}, which cannot be imported{}", because(reason.as_deref()))]
    Packing {
        /// The tensor.
        tensor: String,
        /// The type of its elements.
        dtype: Dtype,
        /// What it is, such as `an 8-bit bitsandbytes weight`.
        packing: &'static str,
        /// Why not, where that is not all that there is to say.
        reason: Option<String>,
        /// What would work instead.
        hint: &'static str,
    },
    /// A tensor that a weight needs is not there.
    #[error("tensor {tensor:?} is {packing}, and has no {missing:?}")]
    Missing {
        /// The weight.
        tensor: String,
        /// What it is.
        packing: &'static str,
        /// The name of the tensor that is missing.
        missing: String,
    },
    /// A tensor beside a weight has another shape or type than the weight's.
    #[error("tensor {tensor:?} is {dtype} {shape}, expected {expected} beside {weight:?}")]
    Companion {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: Dtype,
        /// Its shape.
        shape: Shape,
        /// What would fit.
        expected: String,
        /// The weight.
        weight: String,
    },
    /// The configuration does not say, or says something impossible, about how a weight is packed.
    #[error("tensor {tensor:?} {shape} is {packing}: {problem}")]
    Configuration {
        /// The weight.
        tensor: String,
        /// Its shape, as stored.
        shape: Shape,
        /// What it is.
        packing: &'static str,
        /// What is missing or does not fit.
        problem: String,
    },
    /// Two tensors of the source are the same tensor of the model.
    #[error("clashing name {name:?}: both {first:?} and {second:?} are that tensor")]
    Clash {
        /// The name.
        name: String,
        /// One source tensor.
        first: String,
        /// The other.
        second: String,
    },
}

/// What works for most who are refused.
pub(super) const ORIGINAL: &str = "import the model's original checkpoint, in BF16, F16 or F32";

impl CodingError {
    /// What the user can do about it, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Packing { hint, .. } => Some(hint),
            Self::Configuration { .. } => Some("check quantization or quantization_config in config.json"),
            Self::Missing { .. } | Self::Companion { .. } => {
                Some("check that the checkpoint is complete, and import its directory")
            }
            Self::Clash { .. } => None,
        }
    }
}

fn because(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}
