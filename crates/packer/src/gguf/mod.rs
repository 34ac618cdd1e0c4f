//! What an import of GGUF files and an export to them agree on.

pub(crate) mod headers;
pub(crate) mod names;
pub(crate) mod types;
