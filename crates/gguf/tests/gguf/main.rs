//! One module per module of the crate, and `hostile` with a test for each rule of `docs/format.md`.
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod file;
mod fixtures;
mod ggml_type;
mod header;
mod hostile;
mod layout;
mod metadata;
mod mutated;
mod raw;
mod split;
mod util;
mod writer;
