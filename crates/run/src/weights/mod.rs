//! Weights as the layers need them: matrices that stay as they are stored, and small tensors as F32.

mod bind;
mod linear;
mod swapped;
mod tensors;
mod update;

pub(crate) use bind::{Attention, Bound, Dense, ExpertLayer, Ffn, Finder, Layer, Norm, Projections};
pub(crate) use linear::{Experts, Linear};
pub(crate) use tensors::Tensors;
