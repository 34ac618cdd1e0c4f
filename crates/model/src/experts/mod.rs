//! The experts of a layer and their tensors, recognised by names and shapes alone.

mod error;
mod group;
mod name;

pub use error::ExpertError;
pub use group::{Grouping, Projection, group};
pub use name::{ExpertName, is_bias, may_be_transposed};
