use std::{io, path::PathBuf};

use longshore_manifest::{FsError, store::IngestError};
use longshore_quant::{EncodeError, layout::LayoutError};

use super::{importance::ImportanceFileError, read::shards::ReadError};

/// An import that failed. No name points at anything new, and nothing of it is left in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A weight file is not what it was when the source was opened.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A companion file cannot be read, or is not what it was when the source was opened.
    #[error("cannot read {}", path.display())]
    Companion {
        /// The file.
        path: PathBuf,
        /// What the system answered, or how the file changed.
        source: io::Error,
    },
    /// A tensor cannot be quantized.
    #[error("cannot quantize tensor {tensor:?}")]
    Encode {
        /// The tensor.
        tensor: String,
        /// Why.
        source: EncodeError,
    },
    /// A tensor that is quantized in the source is not what its names and shapes promise.
    #[error("cannot repack tensor {tensor:?}")]
    Repack {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        source: LayoutError,
    },
    /// A tensor that is to be quantized holds infinities or NaNs.
    #[error(
        "tensor {tensor:?} holds infinities or NaNs ({count} so far), which quantization would spread over their groups"
    )]
    NonFinite {
        /// The tensor.
        tensor: String,
        /// How many were found before the import stopped.
        count: u64,
    },
    /// The importance file does not fit the model's weights.
    #[error(transparent)]
    Importance(#[from] ImportanceFileError),
    /// The store's file system has too little room.
    #[error("{} has {available} bytes free, the import needs {needed}", path.display())]
    Space {
        /// The store's directory.
        path: PathBuf,
        /// The bytes that the new blobs need, without those that the store is likely to have.
        needed: u64,
        /// The bytes that are free.
        available: u64,
    },
    /// It was told to stop.
    #[error("the import was stopped; nothing was added")]
    Cancelled,
    /// The store refuses.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The store cannot be written.
    #[error(transparent)]
    Fs(#[from] FsError),
}
