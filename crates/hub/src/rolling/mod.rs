//! Shards that come and go while an import is made of them.

mod shards;
mod sink;

pub(crate) use shards::{End, Shards};
pub(crate) use sink::{Rolling, release};
