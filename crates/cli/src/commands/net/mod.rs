//! The verbs that reach other machines.

pub(super) mod aliases;
mod client;
pub(super) mod login;
mod mend;
pub(super) mod pull;
pub(super) mod push;
mod reference;
mod short;

pub(super) use mend::mend;
