//! Placement: which experts lie on the device, which in host memory, which on the disk.

mod choose;
mod error;
mod greedy;
mod tier;

pub use choose::{place, place_units};
pub use error::PlacementError;
pub use tier::{Budgets, Placed, Placement, Tier, TierShare, Unit, Uses};
