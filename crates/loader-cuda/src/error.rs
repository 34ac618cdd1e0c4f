//! Why weights cannot be loaded.

use std::{io, path::PathBuf};

use longshore_manifest::{Digest, store::TableError, weights::plan::LoadPlanError};

use crate::driver::{CallError, OpenError, ProbeError};

/// Weights that cannot be loaded. Whatever it is, nothing stays allocated for them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// There is no driver or no device to work with.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A device cannot be prepared for loading: its context, its streams or the pinned ring.
    #[error("cannot {action}")]
    Setup {
        /// What was tried.
        action: &'static str,
        /// What the driver answered.
        source: CallError,
    },
    /// Another program stored the model, and its tensors are not known.
    #[error(transparent)]
    Table(#[from] TableError),
    /// What is selected cannot be planned.
    #[error(transparent)]
    Plan(#[from] LoadPlanError),
    /// The device does not give the memory for the tensors.
    #[error(
        "cannot allocate {bytes} bytes on device {ordinal} for {tensor:?} and what follows it, {free} bytes being free"
    )]
    Allocate {
        /// The device, counted from 0.
        ordinal: u32,
        /// The size that was asked for.
        bytes: u64,
        /// What the device had left.
        free: u64,
        /// The first tensor that would have been there.
        tensor: String,
        /// What the driver answered.
        source: CallError,
    },
    /// A blob cannot be opened or read.
    #[error("cannot {action} {}, which has tensor {tensor:?}", path.display())]
    Read {
        /// What was tried.
        action: &'static str,
        /// The blob's file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What the system answered.
        source: io::Error,
    },
    /// A blob is shorter than its table says, or became so.
    #[error("{} has {found} bytes, expected at least {expected}, of tensor {tensor:?}", path.display())]
    Short {
        /// The blob's file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The bytes that there are.
        found: u64,
        /// The end of what is wanted, in bytes from the start of the blob.
        expected: u64,
    },
    /// A blob's file was replaced or resized while it was read.
    #[error("{}, which has tensor {tensor:?}, changed while it was read", path.display())]
    Changed {
        /// The blob's file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A blob is not what its name says.
    #[error("{} has the digest {found}, expected {expected}; tensor {tensor:?} is in it", path.display())]
    Digest {
        /// The blob's file.
        path: PathBuf,
        /// The first tensor that is in it.
        tensor: String,
        /// The digest that its bytes have.
        found: Digest,
        /// The digest in its name.
        expected: Digest,
    },
    /// The device did not take the bytes of a tensor, or of one close by.
    #[error("cannot copy tensor {tensor:?} to device {ordinal}")]
    Copy {
        /// The device, counted from 0.
        ordinal: u32,
        /// The tensor.
        tensor: String,
        /// What the driver answered.
        source: CallError,
    },
    /// The load was told to stop.
    #[error("loading was cancelled")]
    Cancelled,
}

impl CudaError {
    /// For `map_err`: a call that prepares a device failed.
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
