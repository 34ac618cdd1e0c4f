//! Changes of a model's values on the way into the store, and the model that an attachment belongs to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Model that an attachment belongs to. It is not kept alive by the attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Base {
    /// Digest of the model's manifest.
    pub digest: Digest,
    /// Use of the attachment to the model: [`Self::ADAPTER`].
    pub role: String,
}

/// Record of what an import did to the source's values before it stored them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Changes {
    /// Adapters that were merged, in the order in which they were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<MergedAdapter>,
    /// Rotation of the residual stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotated>,
    /// Factors of columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awq: Option<Scaled>,
    /// Codes that were chosen by Hessians.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gptq: Option<Calibrated>,
}

/// Adapter that was merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MergedAdapter {
    /// SHA-256 of the adapter's weights.
    pub digest: Digest,
    /// Factor that was given with the adapter.
    pub weight: f64,
    /// Factors of the products that were added to each tensor, [`Self::weight`] included: one, or one for each product where
    /// they differ, in the order of the tensor's matrices and rows.
    pub scales: BTreeMap<String, Vec<f32>>,
    /// Tensors that the adapter replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<String>,
}

/// Rotation of the residual stream by diag(signs) · (H ⊗ W) / √n, with a Hadamard matrix H and Walsh's matrix W.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rotated {
    /// Seed of the signs.
    pub seed: u64,
    /// Order of the Hadamard matrix.
    pub order: u64,
    /// Order of Walsh's matrix, a power of two.
    pub power: u64,
}

/// Columns that were multiplied by factors of their inputs, whose makers were divided by them: the root of E\[x²\] to a power, over the
/// geometric mean of the channels of one input, from 1/16 to 16.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Scaled {
    /// The power.
    pub power: f64,
    /// SHA-256 of the file of statistics.
    pub statistics: Digest,
}

/// Codes that were chosen by the products of inputs that a calibration saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Calibrated {
    /// SHA-256 of the file of Hessians.
    pub hessians: Digest,
    /// SHA-256 of the file of another text's Hessians, by which the better codes of each tensor were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Digest>,
    /// Tensors whose codes were chosen by Hessians. The others were searched for.
    pub tensors: Vec<String>,
}

impl Base {
    /// Role of an adapter.
    pub const ADAPTER: &str = "adapter";

    /// Names a model by its digest, and says what the attachment is to it.
    #[must_use]
    pub fn new(digest: Digest, role: impl Into<String>) -> Self {
        Self { digest, role: role.into() }
    }
}

impl Changes {
    /// Whether nothing was changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl MergedAdapter {
    /// Describes an adapter whose weights have this digest and got this factor.
    #[must_use]
    pub fn new(digest: Digest, weight: f64) -> Self {
        Self { digest, weight, scales: BTreeMap::new(), replaced: Vec::new() }
    }
}

impl Rotated {
    /// Describes a rotation.
    #[must_use]
    pub fn new(seed: u64, order: u64, power: u64) -> Self {
        Self { seed, order, power }
    }
}

impl Scaled {
    /// Describes factors by their power, and by the digest of the file of statistics that they were chosen by.
    #[must_use]
    pub fn new(power: f64, statistics: Digest) -> Self {
        Self { power, statistics }
    }
}

impl Calibrated {
    /// Describes codes by the digests of the files that they were chosen by.
    #[must_use]
    pub fn new(hessians: Digest, held: Option<Digest>, tensors: Vec<String>) -> Self {
        Self { hessians, held, tensors }
    }
}
