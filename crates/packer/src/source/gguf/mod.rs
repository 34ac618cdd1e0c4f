//! GGUF files as a source.

pub(super) mod headers;
mod inventory;
pub(super) mod open;
