use std::{io, path::PathBuf};

use longshore_manifest::weights::WeightsError;
use longshore_st_format::LayoutError;

use super::{mlx::architecture::mlx_architectures, options::ExportFormat};
use crate::gguf::metadata::GgufMetadataError;

/// Reason why an export failed. The directory is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The directory exists and is not empty.
    #[error("{} is not empty", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// A file, or a link whose target does not exist, stands in place of the directory or of one above it.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The file or link.
        path: PathBuf,
    },
    /// The directory is a store, or would lie in one.
    #[error("{} lies in the store {}", dir.display(), store.display())]
    InStore {
        /// The directory.
        dir: PathBuf,
        /// The root of the store.
        store: PathBuf,
    },
    /// Two files of the export would have the same name.
    #[error("the model's file {path:?} cannot be exported: {problem}")]
    Clash {
        /// The path of the companion file, which is the name of its layer.
        path: String,
        /// Description of the other file with this name.
        problem: String,
    },
    /// The model has quantized tensors, and decoding was not requested.
    #[error("{count} tensors are quantized, {first:?} for one, and a Hugging Face directory has no form for them")]
    Quantized {
        /// Number of quantized tensors.
        count: usize,
        /// Name of the first quantized tensor.
        first: String,
    },
    /// The stored header of an adapter's weights is damaged, or does not fit the stored tensors.
    #[error("the header of the adapter's weights, {}, cannot be used: {problem}", path.display())]
    AdapterHeader {
        /// The blob of the header.
        path: PathBuf,
        /// The error in it.
        problem: String,
    },
    /// The model cannot be exported for mlx-lm.
    #[error("the model cannot be exported for mlx-lm: {problem}")]
    NotForMlx {
        /// The reason.
        problem: String,
    },
    /// mlx-lm's names for the tensors of this architecture are not known.
    #[error("{found} cannot be exported for mlx-lm: names of tensors are known for {}", mlx_architectures().collect::<Vec<_>>().join(", "))]
    MlxArchitecture {
        /// The `model_type` or the class of the model.
        found: String,
    },
    /// mlx-lm's class has no place for a tensor.
    #[error("tensor {tensor:?} cannot be exported for mlx-lm: {problem}")]
    MlxTensor {
        /// The stored tensor.
        tensor: String,
        /// The reason.
        problem: String,
    },
    /// A quantized tensor is one that mlx-lm's class loads only as floats.
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
    /// The model came from GGUF files and is to be exported in another format.
    #[error("the model came from GGUF files, whose tensors cannot be exported as {format} yet")]
    FromGguf {
        /// The requested format.
        format: ExportFormat,
    },
    /// The model cannot be exported as GGUF files.
    #[error("the model cannot be exported as GGUF: {problem}")]
    NotFromGguf {
        /// The reason.
        problem: String,
    },
    /// The stored header of a GGUF file cannot be used.
    #[error("the model's file {name:?} is not the header of a GGUF file")]
    GgufHeader {
        /// The path of the companion file.
        name: String,
        /// The error in the header.
        source: longshore_gguf::HeaderError,
    },
    /// The stored headers of GGUF files are not those of one model.
    #[error("the headers of the model's GGUF files do not fit together")]
    GgufSet {
        /// The error, which names a file of the export.
        source: longshore_gguf::SplitError,
    },
    /// Tensors cannot be written as GGUF without loss.
    #[error("{} of the model's tensors cannot be written as GGUF without loss: {}", tensors.len(), in_words(tensors))]
    GgufTensors {
        /// The names of the tensors in the file, each with the reason.
        tensors: Vec<(String, String)>,
    },
    /// The values of a tensor cannot be written as GGUF in the type that was asked for.
    #[error("tensor {tensor:?} cannot be written as GGUF: {problem}")]
    GgufValues {
        /// The tensor's name in the file.
        tensor: String,
        /// The reason.
        problem: String,
    },
    /// The facts or the tokenizer of the model have no form in GGUF.
    #[error("the model cannot be exported as GGUF")]
    GgufMetadata {
        /// The reason.
        source: GgufMetadataError,
    },
    /// The tensors cannot be laid out as a GGUF file.
    #[error("cannot lay out {file}")]
    GgufLayout {
        /// Name of the file.
        file: String,
        /// The error in the layout.
        source: longshore_gguf::LayoutError,
    },
    /// The source tensors of a stored tensor cannot be restored.
    #[error("cannot restore tensor {tensor:?}: {problem}")]
    Restore {
        /// The stored tensor.
        tensor: String,
        /// The reason.
        problem: String,
    },
    /// The restored tensors cannot be laid out as a file.
    #[error("cannot lay out {file}")]
    Layout {
        /// Name of the file.
        file: String,
        /// The error in the layout.
        source: LayoutError,
    },
    /// The blobs cannot be opened.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A blob does not have the length that the manifest says.
    #[error("the blob {} of {layer:?} has {found} bytes, expected the {expected} of its manifest", path.display())]
    Size {
        /// The blob.
        path: PathBuf,
        /// Name of the layer: that of a tensor, an expert group or a file.
        layer: String,
        /// Length of the blob in bytes.
        found: u64,
        /// Length in the manifest, in bytes.
        expected: u64,
    },
    /// A blob cannot be read.
    #[error("cannot read {}, the blob of {layer:?}", path.display())]
    Read {
        /// The blob.
        path: PathBuf,
        /// Name of the layer: that of a tensor, an expert group or a file.
        layer: String,
        /// The error of the system.
        source: io::Error,
    },
    /// A file or directory of the export cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The export was cancelled.
    #[error("the export was stopped; {} is as it was", dir.display())]
    Cancelled {
        /// The directory.
        dir: PathBuf,
    },
}

/// The first few tensors, each with its reason.
fn in_words(tensors: &[(String, String)]) -> String {
    const SHOWN: usize = 4;
    let shown = tensors.iter().take(SHOWN).map(|(name, reason)| format!("{name} ({reason})"));
    let shown = shown.collect::<Vec<_>>().join("; ");
    if tensors.len() > SHOWN { format!("{shown}; and {} more", tensors.len() - SHOWN) } else { shown }
}
