//! GGUF files as a source.

pub(super) mod adapter;
pub(super) mod headers;
pub(crate) mod inventory;
pub(crate) mod open;
