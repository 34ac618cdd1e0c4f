//! The model's tensors, out of the source's: codes recognised, experts stacked.

pub(crate) mod coding;
pub(crate) mod experts;
pub(crate) mod tensor;
