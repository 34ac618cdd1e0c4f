//! The tensors of the model, derived from those of the source: codes are recognised and experts stacked.

pub(crate) mod coding;
pub(crate) mod experts;
pub(crate) mod tensor;
