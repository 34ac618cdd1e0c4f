//! The arguments of the verbs that look at models and change nothing.

use std::path::PathBuf;

use clap::Args;
use longshore_manifest::ModelName;

/// Say what a model is: architecture, size, schemes, tensors
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The model
    pub(crate) name: ModelName,
    /// List every tensor: type, shape, scheme and blob
    #[arg(long)]
    pub(crate) tensors: bool,
}

/// Compare two models tensor by tensor
///
/// The exit status is 0 where they hold the same tensors and 1 where they differ.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// A model
    pub(crate) a: ModelName,
    /// Another
    pub(crate) b: ModelName,
    /// Compare the values that the tensors stand for, in f32, whatever their types and blobs
    ///
    /// Prints the largest difference of each tensor that differs, and the largest magnitude in A.
    #[arg(long)]
    pub(crate) values: bool,
}

/// Look into a safetensors or GGUF file or a checkpoint directory, headers only
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A .safetensors file, a .gguf file or a directory
    #[arg(required_unless_present = "architectures")]
    pub(crate) path: Option<PathBuf>,
    /// List the architectures that are known, and what is supported for each
    #[arg(long, conflicts_with = "path")]
    pub(crate) architectures: bool,
}
