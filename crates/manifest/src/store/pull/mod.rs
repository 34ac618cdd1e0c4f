//! Pulls: imports from elsewhere that outlive the process that works on them.

mod abandon;
mod keep;
mod list;
mod lock;
mod open;
mod partial;
mod record;

pub use list::PullEntry;
pub use open::{Pull, PullError};
pub use partial::{Partial, PartialError};
pub use record::PullRecord;
