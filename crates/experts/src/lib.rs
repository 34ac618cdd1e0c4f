//! The experts of a mixture of experts: where each lies, which to keep where, and fetching them in time.
//!
//! A token of such a model uses a few experts of each layer, so that most of the model's bytes are not needed most of the time. This
//! crate says where the bytes of each expert lie, and brings them where they are needed. It computes nothing.
//!
//! - [`ExpertMap`] has the places of every expert of a stored model, a directory or a GGUF file, in every projection.
//! - [`ReadAhead`] asks the system for whole experts before an engine computes them from mapped files.
//! - [`ExpertCache`] holds experts in slots of host memory or of a [`SlotDevice`], fetches them on threads of its own, and gives [`Guard`]s
//!   that keep a slot while it is used.
//! - [`place`] says which experts belong on a device, which in host memory, and which may stay on the disk.
//! - [`Trace`] is a recorded routing. [`TraceRecorder`] writes one, [`replay`] measures a cache by it, [`recall`] a [`Predictor`].
//!
//! ```no_run
//! use longshore_experts::{ExpertMap, manifest::weights::Source};
//!
//! let map = ExpertMap::new(&Source::open("./Qwen3-30B-A3B")?)?;
//! for layer in map.layers() {
//!     println!("layer {}: {} experts, {} bytes", layer.number(), layer.experts().len(), layer.bytes());
//! }
//! println!("{} bytes are used by every token", map.shared_bytes());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod ahead;
mod cache;
mod files;
mod key;
mod map;
mod placement;
mod predict;
mod replay;
mod trace;

pub use ahead::{ReadAhead, ReadAheadError};
pub use cache::{
    CacheError, CacheOptions, CacheStats, ExpertCache, ExpertSource, Guard, HeldExpert, Host, HostSlot, LayerStats,
    ReadRange, SLOT_ALIGNMENT, SlotDevice, SlotPart, Ticket,
};
pub use files::{ExpertFiles, ExpertFilesError};
pub use key::ExpertKey;
pub use map::{ExpertLayer, ExpertMap, ExpertMapError, ExpertPart, ExpertRange, Resident, ResidentKind};
pub use placement::{Budgets, Placed, Placement, PlacementError, Tier, TierShare, Unit, Uses, place, place_units};
pub use predict::{LayerBefore, MostUsed, Predictor, SameAgain, recall};
pub use replay::{Replay, ReplayError, ReplayOptions, replay};
pub use trace::{RecordError, Trace, TraceError, TraceHeader, TraceLimits, TraceReader, TraceRecorder};

pub use longshore_manifest as manifest;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
