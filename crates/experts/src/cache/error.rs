//! Errors of a cache of experts.

use std::{io, sync::Arc};

use longshore_manifest::Digest;

use crate::key::ExpertKey;

/// Reason why experts are not in slots.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The model has no such expert.
    #[error("the model has no {key}")]
    Unknown {
        /// The expert.
        key: ExpertKey,
    },
    /// One request names an expert twice.
    #[error("{key} is asked for twice in one request")]
    Twice {
        /// The expert.
        key: ExpertKey,
    },
    /// More slots are asked for than are free.
    #[error(
        "layer {layer}: {asked} more slots are needed, but {free} of {slots} are neither pinned nor held: drop guards, ask in parts, or make more slots"
    )]
    TooMany {
        /// Number of the layer.
        layer: u32,
        /// Number of slots that the request needs besides those that are pinned or held already.
        asked: usize,
        /// Number of slots that are neither pinned nor held.
        free: usize,
        /// Number of slots.
        slots: usize,
    },
    /// An expert cannot be fetched.
    #[error("cannot fetch {key} from the blob {blob}")]
    Fetch {
        /// The expert.
        key: ExpertKey,
        /// Blob that was read when it failed.
        blob: Digest,
        /// Error of the source or of the device.
        source: Arc<io::Error>,
    },
    /// The slots need more memory than the budget allows.
    #[error("{slots} slots of {slot_bytes} bytes have more than the budget of {budget} bytes: expected at most {}", budget / slot_bytes)]
    Budget {
        /// Number of slots.
        slots: usize,
        /// Size of a slot in bytes: that of the largest expert.
        slot_bytes: u64,
        /// Bytes that the slots may take.
        budget: u64,
    },
    /// More experts are pinned than there are slots, or there are no slots or no threads.
    #[error(
        "{slots} slots, {pinned} of them pinned, and {threads} threads: expected one or more of both, and no more pinned than there are"
    )]
    Options {
        /// Number of slots.
        slots: usize,
        /// Number of pinned experts.
        pinned: usize,
        /// Number of threads.
        threads: usize,
    },
    /// The system gives no thread.
    #[error("cannot start a thread that fetches experts")]
    Thread {
        /// Error of the system.
        source: Arc<io::Error>,
    },
}
