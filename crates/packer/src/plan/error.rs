use std::path::PathBuf;

use longshore_quant::SchemeError;
use longshore_st_format::LayoutError;

use crate::{
    classify::{Evidence, Kind},
    experts::ExpertError,
    source::Member,
};

/// Why a source cannot be imported as asked. [`Self::hint`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The source stores its weights in a way that is not imported.
    #[error("{}: {}, and only float checkpoints can be imported", root.display(), found(*kind, evidence.as_ref()))]
    Unsupported {
        /// The directory or file of the source, or of the component or draft model.
        root: PathBuf,
        /// What it is.
        kind: Kind,
        /// What it was recognised by.
        evidence: Option<Evidence>,
    },
    /// The experts of a layer cannot be stacked.
    #[error("the experts cannot be stacked")]
    Experts {
        /// Which tensor is at fault, and why.
        #[from]
        source: ExpertError,
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
    pub(super) fn unsupported(member: &Member) -> Self {
        Self::Unsupported { root: member.root.clone(), kind: member.kind, evidence: member.evidence.clone() }
    }

    /// What the user can do about it, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { .. } => Some("import the model's original checkpoint, in BF16, F16 or F32".to_owned()),
            Self::Reserved { .. } => Some("import it without --quantize".to_owned()),
            Self::Experts { source: ExpertError::Missing { .. } | ExpertError::Count { .. } } => {
                Some("check that the checkpoint is complete, and import its directory".to_owned())
            }
            _ => None,
        }
    }
}

fn found(kind: Kind, evidence: Option<&Evidence>) -> String {
    let what = match kind {
        Kind::Float => "a float checkpoint",
        Kind::Fp8 => "an FP8 checkpoint",
        Kind::Prequantized => "a quantized checkpoint",
        Kind::Pipeline => "a pipeline",
    };
    match evidence {
        None => format!("this is {what}"),
        Some(evidence) => format!("this is {what} ({evidence})"),
    }
}
