//! The map of a model's experts: where the bytes of each lie.

mod error;
mod experts;
mod group;
mod name;
mod part;
mod resident;

pub use error::ExpertMapError;
pub use experts::{ExpertLayer, ExpertMap};
pub use part::{ExpertPart, ExpertRange};
pub use resident::{Resident, ResidentKind};
