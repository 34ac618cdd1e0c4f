//! Shape of a decoder: every switch that its layers depend on, resolved from the facts of a model.

mod family;
mod read;
mod rope;
mod shape;

pub(crate) use family::{ENCODER, FAMILIES, Family, find, plain};
pub(crate) use read::decoder;
pub(crate) use rope::RopeSpec;
pub(crate) use shape::{Activation, Latent, MoeSpec, NormSpec, QkNorm, Spec};
