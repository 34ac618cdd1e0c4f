//! Conventions that an import of GGUF files and an export to them share.

pub(crate) mod change;
pub(crate) mod facts;
pub(crate) mod headers;
pub(crate) mod metadata;
pub(crate) mod names;
pub(crate) mod places;
pub(crate) mod rebuild;
pub(crate) mod tokenizer;
pub(crate) mod types;
