use std::{io, path::PathBuf};

use longshore_manifest::weights::WeightsError;
use longshore_st_format::LayoutError;

use super::mlx::architecture::mlx_architectures;

/// An export that failed. The directory is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The directory exists and holds something.
    #[error("{} is not empty", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// There is something else where the directory, or one above it, should be: a file, or a link that leads nowhere.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The file or link.
        path: PathBuf,
    },
    /// Two files of the export would have one name.
    #[error("the model's file {path:?} cannot be exported: {problem}")]
    Clash {
        /// The path of the companion file, as its layer is called.
        path: String,
        /// What else has this name.
        problem: String,
    },
    /// The model has quantized tensors, and nothing was said about decoding them.
    #[error("{count} tensors are quantized, {first:?} for one, and a Hugging Face directory has no form for them")]
    Quantized {
        /// How many.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// The model as a whole has no form that mlx-lm loads.
    #[error("there is no export for mlx-lm: {problem}")]
    NotForMlx {
        /// Why.
        problem: String,
    },
    /// It is not known what mlx-lm calls the tensors of this architecture.
    #[error("there is no export for mlx-lm of {found}: its names are known for {}", mlx_architectures().collect::<Vec<_>>().join(", "))]
    MlxArchitecture {
        /// The `model_type`, or the class.
        found: String,
    },
    /// A tensor has no place in mlx-lm's class.
    #[error("tensor {tensor:?} cannot be exported for mlx-lm: {problem}")]
    MlxTensor {
        /// The stored tensor.
        tensor: String,
        /// Why.
        problem: String,
    },
    /// A tensor is quantized that mlx-lm's class has as floats only.
    #[error("tensor {tensor:?} is quantized, and mlx-lm loads it as floats only")]
    MlxQuantized {
        /// The stored tensor.
        tensor: String,
    },
    /// An nvfp4 tensor has a global scale.
    #[error("tensor {tensor:?} has a global scale, and MLX's layers have none")]
    MlxGlobalScale {
        /// The stored tensor.
        tensor: String,
    },
    /// A tensor cannot be turned back into what it was made from.
    #[error("cannot restore tensor {tensor:?}: {problem}")]
    Restore {
        /// The stored tensor.
        tensor: String,
        /// Why.
        problem: String,
    },
    /// The restored tensors do not make a file.
    #[error("cannot lay out {file}")]
    Layout {
        /// The file's name.
        file: String,
        /// Why.
        source: LayoutError,
    },
    /// The blobs cannot be opened.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A blob is not as long as the manifest says.
    #[error("the blob {} of {layer:?} has {found} bytes, expected the {expected} of its manifest", path.display())]
    Size {
        /// The blob.
        path: PathBuf,
        /// The layer's name: a tensor's, an expert group's or a file's.
        layer: String,
        /// Its length, in bytes.
        found: u64,
        /// The length in the manifest, in bytes.
        expected: u64,
    },
    /// A blob cannot be read.
    #[error("cannot read {}, the blob of {layer:?}", path.display())]
    Read {
        /// The blob.
        path: PathBuf,
        /// The layer's name: a tensor's, an expert group's or a file's.
        layer: String,
        /// What the system answered.
        source: io::Error,
    },
    /// A file or directory of the export cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// It was told to stop.
    #[error("the export was stopped; {} is as it was", dir.display())]
    Cancelled {
        /// The directory.
        dir: PathBuf,
    },
}
