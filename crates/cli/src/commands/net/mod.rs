//! The verbs that reach other machines.

pub(super) mod aliases;
mod client;
mod fetch;
#[cfg(feature = "run")]
mod here;
pub(super) mod login;
mod mend;
pub(super) mod pull;
pub(super) mod push;
mod reference;
mod short;

#[cfg(feature = "run")]
pub(super) use here::here;
pub(super) use mend::{mend, registry_of};
