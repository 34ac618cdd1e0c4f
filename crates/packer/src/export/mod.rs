//! Writing a stored model as a directory that other tools load.

mod attachment;
mod claims;
mod contents;
pub(crate) mod directory;
mod document;
pub(crate) mod error;
mod gguf;
mod huggingface;
pub(crate) mod mlx;
mod names;
pub(crate) mod options;
mod partial;
mod place;
mod restore;
mod shards;
mod stored;
mod tensor;
