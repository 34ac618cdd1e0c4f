//! Runs the loader against a driver without a device, which finds errors that a real device punishes only sometimes.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod blocks;
mod experts;
mod faults;
mod files;
mod handoff;
mod load;
mod probe;
mod ring;
mod sources;
mod util;
