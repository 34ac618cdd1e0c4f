//! The device memory of one load, and what lies in it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use longshore_manifest::weights::plan::{LoadPlan, Origin};

use crate::driver::DeviceMemory;

/// The memory of one load. It goes when nobody has a tensor in it any more: no weights, no capsule.
#[derive(Debug)]
pub(crate) struct Arena {
    pub(crate) memory: DeviceMemory,
    /// Where the bytes of each origin are.
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

    /// Where the bytes of `origin` start in it.
    pub(super) fn find(&self, origin: &Origin) -> Option<usize> {
        self.origins.get(origin).copied()
    }
}

impl Arenas {
    /// Those that are alive, and stay so while the caller has them.
    pub(super) fn alive(&self) -> Vec<Arc<Arena>> {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.retain(|arena| arena.strong_count() > 0);
        alive.iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn add(&self, arena: &Arc<Arena>) {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(arena));
    }
}

/// A place in an arena as an index. An arena that was allocated has no more bytes than can be indexed.
pub(crate) fn index(at: u64) -> usize {
    usize::try_from(at).expect("an arena fits in memory")
}
