//! A cache of experts in slots of one size, filled by threads of its own.

mod device;
mod error;
mod experts;
mod guard;
mod source;
mod state;
mod stats;
mod sync;
#[cfg(test)]
mod tests;
mod threads;

pub use device::{Host, HostSlot, ReadRange, SLOT_ALIGNMENT, SlotDevice, SlotPart};
pub use error::CacheError;
pub use experts::{CacheOptions, ExpertCache};
pub use guard::{Guard, HeldExpert, Ticket};
pub use source::ExpertSource;
pub use stats::{CacheStats, LayerStats};
