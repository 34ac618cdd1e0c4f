//! The verbs that reach other machines.

pub(super) mod aliases;
mod client;
mod fetch;
#[cfg(feature = "run")]
pub(super) mod here;
pub(super) mod login;
pub(super) mod mend;
pub(super) mod pull;
pub(super) mod push;
mod reference;
mod short;
mod stored;
