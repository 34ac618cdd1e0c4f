use std::{io, path::PathBuf};

use longshore_manifest::{FsError, store::IngestError};
use longshore_quant::{EncodeError, layout::LayoutError};

use super::{hessians::HessianFileError, read::shards::ReadError};
use crate::{io::memory::MemoryError, statistics::error::ImportanceFileError};

/// Reason why an import failed. No name in the store has changed, and the store holds nothing of the import.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A weight file cannot be read, or has changed since the source was opened.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A companion file cannot be read, or has changed since the source was opened.
    #[error("cannot read {}", path.display())]
    Companion {
        /// The file.
        path: PathBuf,
        /// The error of the system, or a description of the change.
        source: io::Error,
    },
    /// A tensor cannot be quantized.
    #[error("cannot quantize tensor {tensor:?}")]
    Encode {
        /// The tensor.
        tensor: String,
        /// The error of the encoder.
        source: EncodeError,
    },
    /// A weight that is quantized in the source holds values that cannot be repacked exactly.
    #[error("cannot repack tensor {tensor:?}")]
    Repack {
        /// The tensor.
        tensor: String,
        /// The error in the codes, scales or zeros.
        source: LayoutError,
    },
    /// Blocks of a GGUF file have scales that the scheme of their type does not hold.
    #[error("cannot take over tensor {tensor:?} into a scheme of MLX")]
    TakeOver {
        /// The tensor.
        tensor: String,
        /// The error in the scales.
        source: LayoutError,
    },
    /// A tensor that is to be quantized holds infinities or NaNs.
    #[error(
        "tensor {tensor:?} holds infinities or NaNs ({count} so far), which quantization would spread over their groups"
    )]
    NonFinite {
        /// The tensor.
        tensor: String,
        /// Number of infinities and NaNs that were found before the import stopped.
        count: u64,
    },
    /// An adapter holds infinities or NaNs where they would be merged.
    #[error("tensor {tensor:?} of an adapter holds infinities or NaNs")]
    AdapterNonFinite {
        /// The adapter's tensor.
        tensor: String,
    },
    /// A tensor that an adapter changes holds infinities or NaNs afterwards, its own or of the adapter, and would be stored with them.
    #[error(
        "tensor {tensor:?} holds infinities or NaNs ({count} so far), its own or of the sum, once the adapter {} is merged into it",
        adapter.display()
    )]
    MergedNonFinite {
        /// The tensor.
        tensor: String,
        /// The directory of the first adapter that changes it.
        adapter: PathBuf,
        /// Number of infinities and NaNs that were found before the import stopped.
        count: u64,
    },
    /// Values that are multiplied by factors hold infinities or NaNs, or their type does not hold the products.
    #[error("tensor {tensor:?} of {} holds infinities or NaNs ({count} so far), or would with its factors", path.display())]
    ScaledNonFinite {
        /// The tensor.
        tensor: String,
        /// The file that holds it.
        path: PathBuf,
        /// Number of such values in the part that was read.
        count: u64,
    },
    /// A tensor that is rotated holds infinities or NaNs, or its type does not hold the rotated values.
    #[error(
        "tensor {tensor:?} of {} holds infinities or NaNs ({count} so far), or would once it is rotated, which spreads them over its rows",
        path.display()
    )]
    RotatedNonFinite {
        /// The tensor.
        tensor: String,
        /// The weight file that it is read from, or the first one.
        path: PathBuf,
        /// Number of infinities and NaNs that were found before the import stopped, those that were spread included.
        count: u64,
    },
    /// The importance file does not fit the model's weights.
    #[error(transparent)]
    Importance(#[from] ImportanceFileError),
    /// The file of Hessians does not fit the model's weights.
    #[error(transparent)]
    Hessians(#[from] HessianFileError),
    /// The file system of the store has too little free space.
    #[error("{} has {available} bytes free, the import needs {needed}", path.display())]
    Space {
        /// The store's directory.
        path: PathBuf,
        /// Bytes that the new blobs need. Blobs that the store probably has already are not counted.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// The system gives no memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The import was cancelled.
    #[error("the import was stopped; nothing was added")]
    Cancelled,
    /// The store refused the import.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// A file of the store cannot be written.
    #[error(transparent)]
    Fs(#[from] FsError),
}
