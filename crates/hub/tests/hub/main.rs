//! Pulls from a hub in this process.
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod cache;
mod faults;
mod journeys;
mod ollama;
mod rolling;
mod support;
