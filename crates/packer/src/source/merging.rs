//! What a source says of an adapter that is merged into it.

use std::{path::PathBuf, sync::Arc};

use longshore_manifest::Digest;
use longshore_transform::adapter::Adapter;

/// An adapter that is merged when the source is imported.
#[derive(Debug, Clone)]
pub(crate) struct SourceAdapter {
    /// The directory of the adapter.
    pub(crate) path: PathBuf,
    /// The SHA-256 of the file of weights.
    pub(crate) digest: Digest,
    /// The factor that the caller gave the adapter.
    pub(crate) weight: f64,
    pub(crate) adapter: Arc<Adapter>,
    /// The adapter's first tensor in [`Source::tensors`]. The others follow.
    pub(crate) first: usize,
}
