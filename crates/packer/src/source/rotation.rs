//! The rotation of a source's residual stream.

use std::sync::Arc;

use longshore_transform::rotation::Rotation;

/// Name of the gain of the norm before the head.
pub(crate) const LAST_NORM: &str = "model.norm.weight";
/// Name of the head.
pub(crate) const HEAD: &str = "lm_head.weight";

/// The rotation that an import gives the residual stream.
#[derive(Debug, Clone)]
pub(crate) struct SourceRotation {
    pub(crate) seed: u64,
    pub(crate) rotation: Arc<Rotation>,
    /// Numbers of the stream.
    pub(crate) size: u64,
    /// Whether the head becomes a copy of the embedding, which it was one with.
    pub(crate) is_untied: bool,
}
