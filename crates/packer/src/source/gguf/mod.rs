//! GGUF files as a source.

mod facts;
mod inventory;
pub(crate) mod open;
