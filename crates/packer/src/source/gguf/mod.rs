//! GGUF files as a source.

pub(super) mod headers;
mod inventory;
pub(crate) mod open;
