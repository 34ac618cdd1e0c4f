//! Tests of the store under crashes, failed operations, and concurrent processes.
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod crash;
mod faults;
mod freed;
mod interleave;
mod noted;
mod replay;
mod scenario;
