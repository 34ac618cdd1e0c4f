//! Errors about quantized weights that cannot be imported.

use longshore_model::modules::ModuleError;
use longshore_quant::Scheme;
use longshore_st_format::{Dtype, Shape};

/// A quantized weight that cannot be imported. [`Self::hint`] says what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodingError {
    /// The weight has a packing that is not supported.
    #[error("tensor {tensor:?} of dtype {dtype} is {packing}, which cannot be imported{}", because(reason.as_deref()))]
    Packing {
        /// The tensor.
        tensor: String,
        /// The type of its elements.
        dtype: Dtype,
        /// Description of the packing, such as `an 8-bit bitsandbytes weight`.
        packing: &'static str,
        /// The reason, if the packing alone does not explain the refusal.
        reason: Option<String>,
        /// Advice to the user: what would work instead.
        hint: &'static str,
    },
    /// A tensor that the weight needs is missing.
    #[error("tensor {tensor:?} is {packing}, and has no {missing:?}")]
    Missing {
        /// The weight.
        tensor: String,
        /// Description of the packing.
        packing: &'static str,
        /// The name of the tensor that is missing.
        missing: String,
    },
    /// A tensor beside a weight has a shape or type that does not fit the weight.
    #[error("tensor {tensor:?} is {dtype} {shape}, expected {expected} beside {weight:?}")]
    Companion {
        /// Type of the tensor.
        tensor: String,
        /// Shape of the tensor.
        dtype: Dtype,
        /// Shape of the tensor.
        shape: Shape,
        /// Type and shape that would fit.
        expected: String,
        /// The weight.
        weight: String,
    },
    /// The configuration does not say how a weight is packed, or says something that is impossible.
    #[error("tensor {tensor:?} {shape} is {packing}: {problem}")]
    Configuration {
        /// The weight.
        tensor: String,
        /// Shape of the weight, as stored.
        shape: Shape,
        /// Description of the packing.
        packing: &'static str,
        /// The part of the configuration that is missing or does not fit.
        problem: String,
    },
    /// The configuration's names of modules do not tell which of them are meant.
    #[error(transparent)]
    Modules {
        /// What is wrong with the names.
        source: ModuleError,
    },
    /// The configuration describes a module that no tensor belongs to, and a tensor of another name may be meant.
    #[error(
        "config.json describes module {module:?}, and no tensor belongs to such a module; {tensor:?} fits its {} bits in \
         groups of {} as well as the {} bits in groups of {} by which it would be read",
        said.bits(), said.group_size(), used.bits(), used.group_size()
    )]
    Unmatched {
        /// The name or pattern in the configuration.
        module: String,
        /// The scheme under that name.
        said: Scheme,
        /// A weight that has such codes.
        tensor: String,
        /// The scheme that the configuration has for the weight.
        used: Scheme,
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

/// Hint that applies to most refused weights.
pub(super) const ORIGINAL: &str = "import the model's original checkpoint, in BF16, F16 or F32";

impl CodingError {
    /// Advice to the user, if there is any for this error.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Packing { hint, .. } => Some(hint),
            Self::Configuration { .. } | Self::Modules { .. } | Self::Unmatched { .. } => {
                Some("check quantization or quantization_config in config.json")
            }
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
