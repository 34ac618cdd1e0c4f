//! The options of an import, and the outcome.

use std::{num::NonZero, sync::Arc};

use longshore_manifest::{Digest, document::Loss, store::GcError};
use longshore_quant::Profile;

use super::hessians::{HessianFile, HessianFileError};
use crate::{plan::planned::Plan, statistics::importance::ImportanceFile};

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
    /// Chooses the codes of integer types by Hessians. Tensors without one, and all other types, get the codes of the profile.
    pub gptq: Option<GptqOptions>,
    /// Decodes the quantized tensors again, and records with each tensor how far its values are from the original.
    pub measure: bool,
}

/// Choice of codes by the products of inputs: each code for the errors of those before it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GptqOptions {
    /// The products that codes are chosen by.
    pub hessians: Arc<HessianFile>,
    /// The products of another text's inputs. Of each tensor the codes that lose less under these are kept: those chosen by
    /// [`Self::hessians`], or those that [`Profile::Best`] finds with the importance of the import. Without them, all of the former
    /// are.
    pub held: Option<Arc<HessianFile>>,
}

impl GptqOptions {
    /// Chooses codes by these files.
    #[must_use]
    pub fn new(hessians: Arc<HessianFile>, held: Option<Arc<HessianFile>>) -> Self {
        Self { hessians, held }
    }

    /// Checks that the files fit the weights that `plan` quantizes, as [`HessianFile::check`] does. Returns the warnings of
    /// both.
    ///
    /// # Errors
    ///
    /// Those of [`HessianFile::check`].
    pub fn check(&self, plan: &Plan) -> Result<Vec<String>, HessianFileError> {
        let files = [Some(&self.hessians), self.held.as_ref()];
        let warnings: Result<Vec<_>, _> = files.into_iter().flatten().map(|file| file.check(plan)).collect();
        Ok(warnings?.concat())
    }
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
