//! The experts of a layer and their tensors, recognised by names and shapes alone.

mod error;
mod group;
mod name;

pub use error::ExpertError;
pub use group::{Grouping, Projection, group, group_by};
pub use name::{ExpertName, ExpertNaming, is_bias, may_be_transposed};
