//! The options of an import, and its outcome.

use std::{num::NonZero, sync::Arc};

use longshore_manifest::{Digest, document::Loss, store::GcError};
use longshore_quant::Profile;

use super::importance::ImportanceFile;

/// The options of an import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// How codes are chosen.
    pub profile: Profile,
    /// The number of threads; all that the machine has if `None`.
    pub threads: Option<NonZero<usize>>,
    /// Quantize tensors that hold infinities or NaNs, rather than stop.
    pub allow_non_finite: bool,
    /// How much each input channel matters to the search of [`Profile::Best`]; the other profiles make no use of it.
    pub importance: Option<Arc<ImportanceFile>>,
    /// Decode what was quantized, and store with each tensor how far it is from what it was.
    pub measure: bool,
}

/// What an import did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImportOutcome {
    /// The digest of the manifest: the model's identity.
    pub digest: Digest,
    /// The bytes of blobs that were written: the store did not hold them before.
    pub new_bytes: u64,
    /// The bytes of blobs that it held already or that a killed import had finished, each counted once.
    pub reused_bytes: u64,
    /// Those of them that a killed import had finished.
    pub taken_over_bytes: u64,
    /// The bytes of blobs that are deleted since nobody needs them any more: what the name was before, and what killed imports had
    /// brought into the store.
    pub freed_bytes: u64,
    /// Why such blobs were left for a later [`Store::gc`](longshore_manifest::Store::gc), if they were.
    pub left: Option<Arc<GcError>>,
    /// What quantization lost beyond rounding, in the order of the plan: groups that underflow, for example. What holds of many
    /// tensors is one line.
    pub warnings: Vec<String>,
    /// What quantization lost of each tensor that was quantized, by its name and in the order of the plan, if
    /// [`ImportOptions::measure`] asked.
    pub losses: Vec<(String, Loss)>,
}
