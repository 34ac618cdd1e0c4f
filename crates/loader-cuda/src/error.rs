//! Errors from loading weights.

use std::{io, path::PathBuf};

use longshore_manifest::{
    Digest,
    store::TableError,
    weights::{CorruptError, WeightsError, plan::LoadPlanError},
};

use crate::{
    DecodeError,
    driver::{CallError, OpenError, ProbeError},
};

/// Error from loading weights. Nothing stays allocated for them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// There is no usable driver or no device.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A device cannot be prepared for loading: its context, its streams or the pinned ring.
    #[error("cannot {action}")]
    Setup {
        /// The failed step.
        action: &'static str,
        /// The driver's error.
        source: CallError,
    },
    /// Another program stored the model, so its tensors are not known.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Plain files are to be verified, for which no digest tells what they should be.
    #[error("{name} is not stored: there is no digest to verify its files with")]
    NotStored {
        /// Name of the source.
        name: String,
    },
    /// Tensors of ggml's blocks cannot be converted on the host.
    #[error(transparent)]
    Host(#[from] WeightsError),
    /// The blobs of such tensors are not what their digests say.
    #[error(transparent)]
    Corrupt(#[from] CorruptError),
    /// Quantized tensors cannot be decoded on the device.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The selection cannot be planned.
    #[error(transparent)]
    Plan(#[from] LoadPlanError),
    /// The device cannot allocate the memory for the tensors.
    #[error(
        "cannot allocate {bytes} bytes on device {ordinal} for {tensor:?} and later tensors: {free} bytes are free"
    )]
    Allocate {
        /// Number of the device, counted from 0.
        ordinal: u32,
        /// Requested size in bytes.
        bytes: u64,
        /// Free memory of the device in bytes.
        free: u64,
        /// First tensor of the allocation.
        tensor: String,
        /// The driver's error.
        source: CallError,
    },
    /// A blob cannot be opened or read.
    #[error("cannot {action} {}, which holds tensor {tensor:?}", path.display())]
    Read {
        /// The failed operation.
        action: &'static str,
        /// Path of the blob's file.
        path: PathBuf,
        /// A tensor of the blob.
        tensor: String,
        /// The underlying I/O error.
        source: io::Error,
    },
    /// A blob is shorter than its table says, or became shorter.
    #[error("{} has {found} bytes, expected at least {expected} for tensor {tensor:?}", path.display())]
    Short {
        /// Path of the blob's file.
        path: PathBuf,
        /// The first tensor that does not fit.
        tensor: String,
        /// Number of bytes in the file.
        found: u64,
        /// End of the requested range, in bytes from the start of the blob.
        expected: u64,
    },
    /// A blob's file was replaced or resized while it was read.
    #[error("{}, which holds tensor {tensor:?}, changed while it was read", path.display())]
    Changed {
        /// Path of the blob's file.
        path: PathBuf,
        /// A tensor of the blob.
        tensor: String,
    },
    /// The digest of a blob differs from its name.
    #[error("{}, which holds tensor {tensor:?}, has the digest {found}, expected {expected}", path.display())]
    Digest {
        /// Path of the blob's file.
        path: PathBuf,
        /// First tensor in the blob.
        tensor: String,
        /// Digest of the blob's bytes.
        found: Digest,
        /// Digest in the blob's name.
        expected: Digest,
    },
    /// The digest of a chunk in the table is not that of the blob's bytes, and the blob is good.
    #[error("the tensor table has another digest for bytes {} to {} of {}, which holds tensor {tensor:?} and is good", bytes.start, bytes.end.saturating_sub(1), path.display())]
    Chunks {
        /// Path of the blob's file.
        path: PathBuf,
        /// First tensor in the blob.
        tensor: String,
        /// The chunk, in bytes from the start of the blob.
        bytes: std::ops::Range<u64>,
    },
    /// The device did not accept the bytes of a tensor, or of one close to it.
    #[error("cannot copy tensor {tensor:?} to device {ordinal}")]
    Copy {
        /// Number of the device, counted from 0.
        ordinal: u32,
        /// Name of the tensor.
        tensor: String,
        /// The driver's error.
        source: CallError,
    },
    /// The load was cancelled through its progress.
    #[error("loading was cancelled")]
    Cancelled,
}

impl CudaError {
    /// Converts the error of a call that prepares a device; for `map_err`.
    pub(crate) fn setup(action: &'static str) -> impl FnOnce(CallError) -> Self {
        move |source| Self::Setup { action, source }
    }
}

impl From<OpenError> for CudaError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Probe(error) => Self::Probe(error),
            OpenError::Call(source) => Self::Setup { action: "open the device", source },
        }
    }
}
