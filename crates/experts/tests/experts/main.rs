//! Tests of the experts of stored models, directories and GGUF files.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod ahead;
mod cache;
mod map;
mod placement;
mod replay;
mod trace;
