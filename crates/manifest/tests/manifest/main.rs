//! Tests with one module per module of the crate, and `format_page` for `docs/format.md`.
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod changed;
mod chunks;
#[cfg(feature = "decode")]
mod convert;
mod digest;
mod document;
mod expert;
mod facts;
mod foreign;
mod format_page;
mod fs;
mod gc;
mod ingest;
mod mend;
mod models;
mod name;
mod plan;
mod pulls;
mod readers;
mod share;
mod sources;
mod store;
mod surroundings;
mod sweep;
mod twin;
mod util;
#[cfg(feature = "decode")]
mod values;
mod verify;
mod weights;
