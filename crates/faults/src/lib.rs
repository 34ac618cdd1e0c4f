//! Fails the file calls of a program one by one, and asserts what Longshore promises when they do.
//!
//! A library that is loaded before a program counts its file calls and fails the one that it is told to: [`Preload`] says which, and
//! [`calls`] reads what it has written down. [`suite`] runs the verbs of the `longshore` binary so, and checks after each run that the
//! exit status, the message and the store are what they have to be.
//!
//! The library is for Linux on x86-64 and 64-bit Arm; [`unavailable`] says why it cannot be used where it cannot.

mod class;
mod fault;
mod log;
mod preload;
pub mod suite;

pub use class::Class;
pub use fault::Fault;
pub use log::{Call, calls};
pub use preload::{Preload, Strike, library, unavailable};
