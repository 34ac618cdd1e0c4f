//! Counts of what a cache did.

use std::{collections::BTreeMap, ops::AddAssign, time::Duration};

/// Counts of a cache, by layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Counts of each layer that was asked for.
    pub layers: BTreeMap<u32, LayerStats>,
}

/// Counts of one layer, or of several. Hits, late ones and misses together are the experts that were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerStats {
    /// Experts that were in a slot when they were asked for.
    pub hits: u64,
    /// Experts that were on their way, or waited for it, when they were asked for.
    pub late: u64,
    /// Experts that had to be fetched.
    pub misses: u64,
    /// Bytes of the hits.
    pub hit_bytes: u64,
    /// Bytes of the late ones.
    pub late_bytes: u64,
    /// Bytes of the misses.
    pub miss_bytes: u64,
    /// Time that requests without a miss waited for late ones.
    pub late_wait: Duration,
    /// Time that requests with a miss waited.
    pub miss_wait: Duration,
    /// Experts that were fetched ahead of a request.
    pub prefetched: u64,
    /// Bytes of these.
    pub prefetched_bytes: u64,
    /// Experts that were fetched ahead and gave up their slot without a use.
    pub wasted: u64,
    /// Bytes of these.
    pub wasted_bytes: u64,
    /// Fetches that failed.
    pub failed: u64,
}

impl CacheStats {
    /// Returns the counts of all layers together.
    #[must_use]
    pub fn total(&self) -> LayerStats {
        let mut total = LayerStats::default();
        for layer in self.layers.values() {
            total += *layer;
        }
        total
    }
}

impl LayerStats {
    /// Returns the number of experts that were asked for.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.hits + self.late + self.misses
    }
}

impl AddAssign for LayerStats {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.late += other.late;
        self.misses += other.misses;
        self.hit_bytes += other.hit_bytes;
        self.late_bytes += other.late_bytes;
        self.miss_bytes += other.miss_bytes;
        self.late_wait += other.late_wait;
        self.miss_wait += other.miss_wait;
        self.prefetched += other.prefetched;
        self.prefetched_bytes += other.prefetched_bytes;
        self.wasted += other.wasted;
        self.wasted_bytes += other.wasted_bytes;
        self.failed += other.failed;
    }
}
