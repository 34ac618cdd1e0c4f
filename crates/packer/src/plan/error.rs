use std::path::PathBuf;

use longshore_model::{Contradiction, experts::ExpertError};
use longshore_quant::{Scheme, SchemeError};
use longshore_st_format::{Dtype, LayoutError};
use longshore_transform::adapter::AdapterError;

use crate::{
    heads::HeadError,
    model::{coding::error::CodingError, experts::error::StackError},
    statistics::error::ImportanceFileError,
};

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
    /// A scheme was requested for tensors of GGUF files that are quantized in other types.
    #[error(
        "{} of the file's tensors are quantized in types that {asked} does not hold, and would lose a second time: {}",
        tensors.len(), some_of(tensors)
    )]
    RequantizeBlocks {
        /// The tensors, each with its type.
        tensors: Vec<String>,
        /// The scheme that was requested.
        asked: Scheme,
    },
    /// Blocks of GGUF files were to be taken over from a source that is no GGUF file.
    #[error("the source is not in GGUF, whose blocks alone are taken over into schemes of MLX")]
    NotGguf,
    /// The values of GGUF files would have to be changed.
    #[error("tensors of GGUF files cannot be {asked}: they are stored as the files have them, or quantized")]
    Gguf {
        /// The request, such as `decoded`.
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
    /// An adapter does not fit the model.
    #[error("the adapter {} cannot be merged", path.display())]
    Adapter {
        /// The directory of the adapter.
        path: PathBuf,
        /// The error, which names the tensor.
        source: Box<AdapterError>,
    },
    /// An adapter was given for what has no weights that adapters change.
    #[error("the adapter {} cannot be merged into {found}", path.display())]
    AdapterBase {
        /// The directory of the adapter.
        path: PathBuf,
        /// The kind of source.
        found: &'static str,
    },
    /// An adapter was given for a stored model whose residual stream is rotated, which is not the one that it was trained on.
    #[error("the adapter {} cannot be merged into a model whose residual stream is rotated: it was trained on the stream as it was", path.display())]
    AdapterRotated {
        /// The directory of the adapter.
        path: PathBuf,
    },
    /// An adapter was given for a stored model whose columns have factors of their inputs, which it was not trained on.
    #[error("the adapter {} cannot be merged into a model whose columns have factors of their inputs: it was trained on the inputs as they were", path.display())]
    AdapterScaled {
        /// The directory of the adapter.
        path: PathBuf,
    },
    /// An adapter would change a weight that is quantized.
    #[error(
        "tensor {tensor:?} is quantized already: an adapter is merged into its values, which would be quantized again"
    )]
    AdapterQuantized {
        /// The tensor.
        tensor: String,
    },
    /// An adapter would change values of a type that is not merged.
    #[error("tensor {tensor:?} is {found}, expected F32, F16 or BF16 to merge an adapter into")]
    AdapterDtype {
        /// The tensor.
        tensor: String,
        /// Its type.
        found: Dtype,
    },
    /// An adapter would replace what is not a whole tensor, or what another changes.
    #[error("tensor {tensor:?} of the adapter {} replaces a part of a stack, or what another adapter changes", path.display())]
    AdapterReplaces {
        /// The directory of the adapter.
        path: PathBuf,
        /// The adapter's tensor.
        tensor: String,
    },
    /// Several adapters change a tensor, and one of them sets the magnitudes of its rows.
    #[error(
        "tensor {tensor:?} is changed by several adapters, one of which holds magnitudes (DoRA): their order would matter"
    )]
    Magnitudes {
        /// The tensor.
        tensor: String,
    },
    /// A tensor stands in the way of rotating the residual stream.
    #[error("the residual stream cannot be rotated: tensor {tensor:?} {problem}")]
    Rotation {
        /// The tensor.
        tensor: String,
        /// What is in the way, as the rest of a sentence.
        problem: String,
        /// Advice to the user, if there is any.
        hint: Option<&'static str>,
    },
    /// Columns cannot be multiplied by factors of their inputs.
    #[error("columns cannot have factors of their inputs: {problem}")]
    Awq {
        /// The obstacle, which names the tensor if there is one.
        problem: String,
        /// Advice to the user, if there is any.
        hint: Option<&'static str>,
    },
    /// The statistics that factors of columns are chosen by do not fit.
    #[error("columns cannot have factors of their inputs")]
    AwqStatistics {
        /// The error, which names the tensor.
        source: Box<ImportanceFileError>,
    },
    /// A draft head is not whole, does not fit the model that it helps, or is of a kind that is not run.
    #[error("the draft head cannot be stored")]
    Head {
        /// The error, which names the tensor.
        source: HeadError,
    },
    /// A scheme was requested for an attachment, which is stored as it is.
    #[error("an adapter is stored as it is, not quantized")]
    Attachment,
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
            Self::RequantizeBlocks { .. } => Some(
                "--requantize decodes and quantizes them again; --quantize mlx takes over what MLX's schemes hold and keeps \
                 the rest; without --quantize all is kept"
                    .to_owned(),
            ),
            Self::Attachment => Some("leave out --quantize".to_owned()),
            Self::NotGguf => Some("--quantize TYPE quantizes it".to_owned()),
            Self::Gguf { .. } => Some("leave out --quantize; `load --dtype` decodes".to_owned()),
            Self::Adapter { source, .. } => source.hint().map(str::to_owned),
            Self::Head { source } => source.hint().map(str::to_owned),
            Self::AdapterRotated { .. } => Some(
                "merge it and rotate in one import of the checkpoint: import SOURCE NAME --adapter DIR --rotate SEED"
                    .to_owned(),
            ),
            Self::AdapterScaled { .. } => Some(
                "merge it and choose factors in one import of the checkpoint: import SOURCE NAME --adapter DIR --awq".to_owned(),
            ),
            Self::AdapterQuantized { .. } => Some(
                "merge it into the model as it was before it was quantized; --requantize with --quantize TYPE decodes it, and \
                 quantizes the sum again"
                    .to_owned(),
            ),
            Self::Rotation { hint, .. } | Self::Awq { hint, .. } => hint.map(str::to_owned),
            Self::Reserved { .. } => Some("import it without --quantize".to_owned()),
            Self::Experts { source: StackError::Group(ExpertError::Missing { .. } | ExpertError::Count { .. }) } => {
                Some("check that the checkpoint is complete, and import its directory".to_owned())
            }
            _ => None,
        }
    }
}

/// The first few of many names.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

fn of(member: Option<&str>) -> String {
    member.map(|member| format!("{member}: ")).unwrap_or_default()
}
