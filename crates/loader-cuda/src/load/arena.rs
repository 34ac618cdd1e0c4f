//! Arenas: the device memory of one load, and the places of its tensors.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use longshore_manifest::weights::plan::{LoadPlan, Origin};

use crate::driver::DeviceMemory;

/// Memory of one load. It is freed when no weights and no capsule use a tensor in it.
#[derive(Debug)]
pub(crate) struct Arena {
    pub(crate) memory: DeviceMemory,
    /// Offset of each origin's bytes in the arena.
    origins: HashMap<Origin, usize>,
}

/// The arenas that are alive on a device.
#[derive(Debug, Default)]
pub(super) struct Arenas {
    alive: Mutex<Vec<Weak<Arena>>>,
}

impl Arena {
    pub(super) fn new(memory: DeviceMemory, plan: &LoadPlan) -> Self {
        let parts = plan.tensors.iter().flat_map(|tensor| &tensor.parts);
        let placed = parts.filter_map(|part| Some((part.origin.clone(), index(part.arena?))));
        Self { memory, origins: placed.collect() }
    }

    /// An arena of values that were made on the device. No later load shares them.
    pub(crate) fn made(memory: DeviceMemory) -> Self {
        Self { memory, origins: HashMap::new() }
    }

    /// Offset of the bytes of `origin` in the arena.
    pub(super) fn find(&self, origin: &Origin) -> Option<usize> {
        self.origins.get(origin).copied()
    }
}

impl Arenas {
    /// Returns the arenas that are alive. They stay alive while the caller holds them.
    pub(super) fn alive(&self) -> Vec<Arc<Arena>> {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.retain(|arena| arena.strong_count() > 0);
        alive.iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn add(&self, arena: &Arc<Arena>) {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(arena));
    }
}

/// Converts an offset in an arena to an index. An allocated arena has no more bytes than a `usize` can index.
pub(crate) fn index(at: u64) -> usize {
    usize::try_from(at).expect("an arena fits in memory")
}
