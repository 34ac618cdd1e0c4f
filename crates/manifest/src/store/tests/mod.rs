//! What a crash, a fault or another process may do to the store.

mod crash;
mod faults;
mod interleave;
mod replay;
mod scenario;
