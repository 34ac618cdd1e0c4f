use longshore_model::{Contradiction, experts::ExpertError};
use longshore_quant::{Scheme, SchemeError};
use longshore_st_format::LayoutError;

use crate::model::{coding::error::CodingError, experts::error::StackError};

/// Reason why a source cannot be imported with these options. [`Self::hint`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Quantized weights cannot be imported.
    #[error("{}a quantized weight cannot be read", of(member.as_deref()))]
    Coding {
        /// The component of a pipeline that has the weights, or `draft`. `None` for the model itself.
        member: Option<String>,
        /// The error, which names the tensor.
        source: CodingError,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{}the configuration does not fit the weights", of(member.as_deref()))]
    Contradiction {
        /// The component of a pipeline that has the weights, or `draft`. `None` for the model itself.
        member: Option<String>,
        /// The member of the configuration and the tensor, with what each says.
        source: Box<Contradiction>,
    },
    /// A scheme was requested for weights that are already quantized.
    #[error("tensor {tensor:?} is quantized already ({found}): quantizing it to {asked} would lose a second time")]
    Requantize {
        /// The first tensor that is already quantized.
        tensor: String,
        /// The scheme of its codes.
        found: Scheme,
        /// The scheme that was requested.
        asked: Scheme,
    },
    /// An AWQ or GPTQ weight would have to be decoded. Such weights can only be repacked.
    #[error("tensor {tensor:?} is stored as AWQ or GPTQ do ({found}), which is only repacked, not quantized again")]
    Transposed {
        /// The first AWQ or GPTQ tensor.
        tensor: String,
        /// The scheme of its codes.
        found: Scheme,
    },
    /// The values of GGUF files would have to be changed.
    #[error("tensors of GGUF files cannot be {asked} yet: they are stored as the files have them")]
    Gguf {
        /// What was asked for, such as `quantized to int4`.
        asked: String,
    },
    /// The experts of a layer cannot be stacked.
    #[error("the experts cannot be stacked")]
    Experts {
        /// The error, which names the tensor.
        #[from]
        source: StackError,
    },
    /// Two blobs or two tensors would have the same name.
    #[error("clashing name {name:?}: the results of {first:?} and of {second:?} would both have it")]
    Clash {
        /// The name.
        name: String,
        /// The first source tensor of one blob or tensor.
        first: String,
        /// The first source tensor of the other.
        second: String,
    },
    /// A tensor has the name of another tensor's companion, so a reader could not tell them apart.
    #[error("clashing name {tensor:?}: it is reserved for a companion of {owner:?}, which is to be quantized")]
    Reserved {
        /// The tensor.
        tensor: String,
        /// The tensor whose companion would have the same name.
        owner: String,
    },
    /// The policy chose a scheme that the tensor does not fit.
    #[error("tensor {tensor:?} cannot be quantized")]
    Scheme {
        /// The tensor.
        tensor: String,
        /// The error, which says what does not fit.
        source: SchemeError,
    },
    /// The tensors of a blob cannot be laid out as one safetensors file.
    #[error("blob {blob:?} cannot be stored")]
    Layout {
        /// The blob.
        blob: String,
        /// The error in the layout.
        source: LayoutError,
    },
}

impl PlanError {
    /// Advice to the user, if there is any for this error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Coding { source, .. } => source.hint().map(str::to_owned),
            Self::Contradiction { .. } => Some("correct config.json, or leave the member out of it".to_owned()),
            Self::Requantize { .. } => Some(
                "leave out --quantize to store it as it is; --requantize quantizes it again all the same".to_owned(),
            ),
            Self::Transposed { .. } => Some(
                "import it without --quantize, export it with --dequantize bf16, and import that with --quantize"
                    .to_owned(),
            ),
            Self::Gguf { .. } => {
                Some("leave out --quantize, or import the model's safetensors checkpoint with it".to_owned())
            }
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
