//! The options of an import, and the outcome.

use std::{num::NonZero, sync::Arc};

use longshore_manifest::{Digest, document::Loss, store::GcError};
use longshore_quant::Profile;

use super::importance::ImportanceFile;

/// The options of an import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The method by which the codes of quantized tensors are chosen.
    pub profile: Profile,
    /// The number of threads. `None` stands for all that the machine offers.
    pub threads: Option<NonZero<usize>>,
    /// Quantizes tensors that hold infinities or NaNs, instead of failing.
    pub allow_non_finite: bool,
    /// Importance of the input channels for the search of [`Profile::Best`]. Other profiles ignore it.
    pub importance: Option<Arc<ImportanceFile>>,
    /// Decodes the quantized tensors again, and records with each tensor how far its values are from the original.
    pub measure: bool,
}

/// The outcome of an import.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImportOutcome {
    /// The digest of the manifest, which identifies the model.
    pub digest: Digest,
    /// Bytes of blobs that were written because the store did not hold them before.
    pub new_bytes: u64,
    /// Bytes of blobs that the store already held or that a killed import had finished. Each blob counts once.
    pub reused_bytes: u64,
    /// The part of `reused_bytes` that a killed import had finished.
    pub taken_over_bytes: u64,
    /// Bytes of blobs that were deleted because nothing refers to them any more: those of the model that had the name
    /// before, and those that killed imports had left in the store.
    pub freed_bytes: u64,
    /// The error because of which such blobs were left for a later [`Store::gc`](longshore_manifest::Store::gc), if
    /// there was one.
    pub left: Option<Arc<GcError>>,
    /// Losses of quantization beyond rounding, such as groups that underflow, in the order of the plan. A warning that
    /// applies to many tensors is one line.
    pub warnings: Vec<String>,
    /// The loss of each quantized tensor, with its name, in the order of the plan. Empty unless
    /// [`ImportOptions::measure`] was set.
    pub losses: Vec<(String, Loss)>,
}
