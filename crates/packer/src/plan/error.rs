use longshore_model::experts::ExpertError;
use longshore_quant::{Scheme, SchemeError};
use longshore_st_format::LayoutError;

use crate::model::{coding::error::CodingError, experts::error::StackError};

/// Why a source cannot be imported as asked. [`Self::hint`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Weights are packed in a way that is not read.
    #[error("{}a quantized weight cannot be read", of(member.as_deref()))]
    Coding {
        /// The component of a pipeline that has them, or `draft`; `None` for the model itself.
        member: Option<String>,
        /// Which, and why not.
        source: CodingError,
    },
    /// A scheme is asked for, and the weights have one already.
    #[error("tensor {tensor:?} is quantized already ({found}): quantizing it to {asked} would lose a second time")]
    Requantize {
        /// The first such tensor.
        tensor: String,
        /// The scheme of its codes.
        found: Scheme,
        /// What was asked for.
        asked: Scheme,
    },
    /// AWQ and GPTQ are repacked, but not decoded.
    #[error("tensor {tensor:?} is stored as AWQ or GPTQ do ({found}), which is only repacked, not quantized again")]
    Transposed {
        /// The first such tensor.
        tensor: String,
        /// The scheme of its codes.
        found: Scheme,
    },
    /// The experts of a layer cannot be stacked.
    #[error("the experts cannot be stacked")]
    Experts {
        /// Which tensor is at fault, and why.
        #[from]
        source: StackError,
    },
    /// Two blobs, or two tensors, would have one name.
    #[error("clashing name {name:?}: it would be given to what is made from {first:?} and from {second:?}")]
    Clash {
        /// The name.
        name: String,
        /// The first source tensor of one of the two.
        first: String,
        /// The first source tensor of the other.
        second: String,
    },
    /// A tensor is called like the companion of another, so that a reader could not tell which it is.
    #[error("clashing name {tensor:?}: it is reserved for a companion of {owner:?}, which is to be quantized")]
    Reserved {
        /// The tensor.
        tensor: String,
        /// The tensor whose companion would have that name.
        owner: String,
    },
    /// The policy chose a scheme that the tensor does not fit.
    #[error("tensor {tensor:?} cannot be quantized")]
    Scheme {
        /// The tensor.
        tensor: String,
        /// What does not fit.
        source: SchemeError,
    },
    /// Tensors that cannot be one safetensors file.
    #[error("blob {blob:?} cannot be stored")]
    Layout {
        /// The blob.
        blob: String,
        /// What is wrong.
        source: LayoutError,
    },
}

impl PlanError {
    /// What the user can do about it, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Coding { source, .. } => source.hint().map(str::to_owned),
            Self::Requantize { .. } => Some(
                "leave out --quantize to store it as it is; --requantize quantizes it again all the same".to_owned(),
            ),
            Self::Transposed { .. } => Some(
                "import it without --quantize, export it with --dequantize bf16, and import that with --quantize"
                    .to_owned(),
            ),
            Self::Reserved { .. } => Some("import it without --quantize".to_owned()),
            Self::Experts { source: StackError::Group(ExpertError::Missing { .. } | ExpertError::Count { .. }) } => {
                Some("check that the checkpoint is complete, and import its directory".to_owned())
            }
            _ => None,
        }
    }
}

fn of(member: Option<&str>) -> String {
    member.map(|member| format!("{member}: ")).unwrap_or_default()
}
