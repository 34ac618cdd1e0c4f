//! Integration tests: one module per module of the crate, and `differential` against the `safetensors` crate.
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod differential;
mod dtype;
mod file;
mod fixtures;
mod format_page;
mod header;
mod index;
mod layout;
mod published;
mod stricter;
mod util;
mod writer;
