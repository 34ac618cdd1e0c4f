//! Tiers, and what lies in each.

use std::{collections::BTreeMap, fmt};

use crate::key::ExpertKey;

/// Uses of experts: how many times each was chosen. Those that are not listed were never chosen.
pub type Uses = BTreeMap<ExpertKey, u64>;

/// An expert, with its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Unit {
    /// The expert.
    pub key: ExpertKey,
    /// Bytes of all its parts.
    pub bytes: u64,
}

/// A place for experts, from the fastest to the slowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// Memory of the device that computes.
    Device,
    /// Memory of the host.
    Host,
    /// The files.
    Disk,
}

/// Bytes that each tier may hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budgets {
    /// Bytes of device memory. `None` if there is no device: then it is no tier.
    pub device: Option<u64>,
    /// Bytes of host memory. `None` for no bound: then nothing is left to the disk.
    pub host: Option<u64>,
}

/// A place for every expert.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Placement {
    /// Bytes of what every token uses. They lie in the first tier, within its budget.
    pub shared_bytes: u64,
    /// Tiers, the fastest first.
    pub tiers: Vec<TierShare>,
    /// All experts, by layer and number.
    pub experts: Vec<Placed>,
    /// Whether the uses of experts decided. Otherwise whole layers were taken, from the last.
    pub is_by_uses: bool,
}

/// Contents of a tier.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct TierShare {
    /// The tier.
    pub tier: Tier,
    /// Bytes that it may hold. `None` for no bound.
    pub budget: Option<u64>,
    /// Bytes of the experts in it.
    pub bytes: u64,
    /// Number of the experts in it.
    pub experts: usize,
    /// Value that lies in the tier, divided by a bound that no other choice of the experts that were left for it exceeds: 0.999 means
    /// that at most a thousandth was lost. The value of an expert is its uses times its bytes. `None` if uses did not decide, and for
    /// the disk.
    pub bound: Option<f64>,
}

/// An expert's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Placed {
    /// The expert.
    pub key: ExpertKey,
    /// Where it lies.
    pub tier: Tier,
    /// Its size in bytes.
    pub bytes: u64,
    /// Times that it was chosen. `None` if that is not known.
    pub uses: Option<u64>,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Device => "device",
            Self::Host => "host",
            Self::Disk => "disk",
        })
    }
}
