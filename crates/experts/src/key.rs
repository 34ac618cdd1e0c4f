//! The name of an expert.

use std::fmt;

/// An expert of a layer. Experts are ordered by layer, then by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExpertKey {
    /// Number of the decoder's layer, counted from 0.
    pub layer: u32,
    /// Number of the expert in its layer, counted from 0.
    pub expert: u32,
}

impl ExpertKey {
    /// Makes the name of expert `expert` of layer `layer`.
    #[must_use]
    pub fn new(layer: u32, expert: u32) -> Self {
        Self { layer, expert }
    }
}

impl fmt::Display for ExpertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expert {} of layer {}", self.expert, self.layer)
    }
}
