use std::path::PathBuf;

use longshore_manifest::{
    store::TableError,
    weights::{SourceError, WeightsError, plan::LoadPlanError},
};
use longshore_quant::SchemeError;
use longshore_st_format::{Dtype, Shape};

use crate::map::FileError;

/// Weights that cannot be opened. There is no array yet where this is the answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The model has no tensor table, and its blobs make none.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A directory or files cannot be opened as a model.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The selection cannot be met.
    #[error(transparent)]
    Plan(LoadPlanError),
    /// No tensor is in the component.
    #[error("no tensors in the component {component:?} of {name}; {}", components(found))]
    Component {
        /// The model's name.
        name: String,
        /// The component that was asked for.
        component: String,
        /// The components that the model has; none in a model of one part.
        found: Vec<String>,
    },
    /// Tensors of ggml's blocks cannot be converted.
    #[error(transparent)]
    Blocks(#[from] WeightsError),
    /// A file is missing, has changed, or is no safetensors file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A blob is not what the model's tensor table says.
    #[error("{} does not hold tensor {tensor:?} as its model says: expected {expected}, found {found}", path.display())]
    Disagreement {
        /// The blob's file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The table's entries.
        expected: String,
        /// Contents of the blob's header.
        found: String,
    },
    /// MLX has no such type.
    #[error("MLX has no type for tensor {tensor:?} of {}: found {dtype}", path.display())]
    Dtype {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: Dtype,
        /// The file.
        path: PathBuf,
    },
    /// MLX counts in 32 bits.
    #[error("tensor {tensor:?} of {} is {shape}, expected extents below 2^31", path.display())]
    Extent {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Shape,
        /// The file.
        path: PathBuf,
    },
    /// A tensor is quantized in a way that is not known.
    #[error("the quantization of tensor {tensor:?} of {} is not known", path.display())]
    Scheme {
        /// The tensor.
        tensor: String,
        /// The file.
        path: PathBuf,
        /// The problem.
        source: SchemeError,
    },
}

fn components(found: &[String]) -> String {
    if found.is_empty() { "it has no components".into() } else { format!("it has {found:?}") }
}
