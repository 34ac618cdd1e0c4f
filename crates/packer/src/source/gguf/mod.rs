//! GGUF files as a source.

mod facts;
mod inventory;
pub(super) mod open;
