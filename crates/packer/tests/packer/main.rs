//! Importing and exporting, through the public interface.

mod acceptance;
mod adapters;
mod calibrated;
mod coded;
mod companions;
mod directory;
mod drafts;
mod experts;
mod export;
mod export_claims;
mod export_mlx;
mod failures;
mod from_stores;
mod gguf;
mod gguf_export;
mod gguf_files;
mod gguf_memory;
mod gguf_mlx;
mod gguf_names;
mod gguf_types;
mod heads;
mod imatrix;
mod import;
#[cfg(unix)]
mod links;
mod memory;
mod pipelines;
mod plan;
mod quantize;
mod repair;
mod round_trip;
mod source;
mod speech_and_text;
mod stores;
mod support;
mod tables;
