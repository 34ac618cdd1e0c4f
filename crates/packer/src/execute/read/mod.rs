//! Reading the values or codes of a planned tensor, a piece at a time.

pub(super) mod blocks;
mod checks;
pub(super) mod coded;
mod factors;
pub(super) mod fp8;
pub(super) mod matrices;
mod merged;
pub(super) mod packed;
pub(super) mod piece;
mod plain;
mod rotated;
mod scaled;
pub(crate) mod shards;
mod summed;
mod unmerged;
pub(super) mod values;
