//! Opening a model with nothing stored: its tensors under the names that an import gives them.

pub(crate) mod error;
mod memory;
pub(crate) mod path;
mod ranges;
