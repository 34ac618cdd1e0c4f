//! The experts of a layer: which tensors they have, told from names and shapes alone.

mod error;
mod group;
mod name;

pub use error::ExpertError;
pub use group::{Grouping, Projection, group};
pub use name::{ExpertName, is_bias, may_be_transposed};
