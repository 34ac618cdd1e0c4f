//! Experts of a mixture: how they come into memory, and who hears of the choices of tokens.

mod reach;
mod routed;
mod slots;

pub(crate) use reach::Reach;
pub use routed::Routed;
pub(crate) use routed::trace_header;
pub(crate) use slots::Held;
