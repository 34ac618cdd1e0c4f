//! Models in several files.

mod error;
mod keys;
mod layout;
mod name;
mod set;

pub use error::{MemberError, SplitError};
pub use keys::SplitKeys;
pub use layout::{SplitBy, SplitLayout, SplitLayoutError};
pub use name::{MemberName, MemberNameError};
pub use set::{Member, SplitSet};
