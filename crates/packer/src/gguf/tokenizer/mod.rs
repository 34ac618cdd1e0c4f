//! Tokenizers in both forms: the keys of GGUF metadata, and `tokenizer.json`.

mod base64;
pub(crate) mod build;
pub(crate) mod configs;
mod document;
mod merges;
mod names;
pub(crate) mod parse;
mod pre_tokenizer;
mod splits;
pub(crate) mod vocabulary;
