//! Locks and threads: the system's, and in the tests of this crate's own files loom's, which runs them in every order.

#[cfg(test)]
pub(super) use loom::{
    sync::{Condvar, Mutex, MutexGuard},
    thread::{Builder, JoinHandle},
};
#[cfg(not(test))]
pub(super) use std::{
    sync::{Condvar, Mutex, MutexGuard},
    thread::{Builder, JoinHandle},
};
