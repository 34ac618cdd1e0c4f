//! GGUF files as a source.

mod inventory;
pub(super) mod open;
