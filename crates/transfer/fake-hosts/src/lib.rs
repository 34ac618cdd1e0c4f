//! Hosts for tests, in memory: a registry of the OCI distribution protocol and a hub of model files. Each can go wrong on demand, and be killed.
//!
//! A [`Host`] answers requests. [`Loop`] is a transport to it without a socket; [`serve`] puts it behind one, for tests with processes.

#![forbid(unsafe_code)]

mod fault;
mod host;
mod hub;
mod mortal;
mod registry;
mod socket;

pub use fault::{Fault, Faults, Rule};
pub use host::{Asked, Host, Logged, Loop, Reply, sha256};
pub use hub::FakeHub;
pub use mortal::{Death, Mortal};
pub use registry::FakeRegistry;
pub use socket::{Served, serve};
