//! Effects of a crash, a fault or another process on the store.
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod crash;
mod faults;
mod freed;
mod interleave;
mod replay;
mod scenario;
