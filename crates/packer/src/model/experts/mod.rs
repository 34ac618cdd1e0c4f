//! The experts of a layer, stacked into one tensor for each projection.

pub(crate) mod error;
pub(crate) mod stack;
