//! Files of what weights are multiplied by: mean squares of inputs, and the model that they were recorded on.

pub(crate) mod error;
mod imatrix;
pub(crate) mod importance;
pub(crate) mod recorded;
