//! Pulls from a hub in this process.
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod cache;
mod faults;
#[cfg(unix)]
mod gguf;
mod journeys;
mod kills;
mod ollama;
mod rolling;
mod support;
