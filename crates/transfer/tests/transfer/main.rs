//! The client against a host that is a function: every fault on demand, no socket, no waiting.
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod credentials;
mod download;
mod requests;
mod socket;
mod support;
