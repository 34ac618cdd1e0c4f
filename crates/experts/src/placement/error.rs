//! Errors of placing experts.

use super::tier::Tier;
use crate::key::ExpertKey;

/// Reason why experts cannot be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlacementError {
    /// The first tier has no room for what every token uses.
    #[error("what every token uses has {shared} bytes, but the budget of {tier} is {budget}: expected at least that")]
    Budget {
        /// Tier that has to hold it.
        tier: Tier,
        /// Its budget in bytes.
        budget: u64,
        /// Bytes of what every token uses.
        shared: u64,
    },
    /// Uses are counted of an expert that the model does not have.
    #[error("{key} has uses, but the model does not have it: the counts are another model's")]
    Unknown {
        /// The expert.
        key: ExpertKey,
    },
    /// An expert is listed twice.
    #[error("{key} is listed twice")]
    Twice {
        /// The expert.
        key: ExpertKey,
    },
    /// The sizes of the experts together do not fit in 64 bits.
    #[error("the sizes of the experts up to {key} together have more bytes than can be counted")]
    Overflow {
        /// First expert with which they do not fit.
        key: ExpertKey,
    },
}
