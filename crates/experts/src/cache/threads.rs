//! The threads that fetch experts.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError},
    time::Instant,
};

use longshore_manifest::Digest;

use super::{
    device::SlotDevice,
    error::CacheError,
    source::ExpertSource,
    state::{Job, State, Wanted},
    sync::{Condvar, Mutex, MutexGuard},
};
use crate::map::ExpertRange;

/// State that the threads of a cache, its guards and its tickets share.
pub(super) struct Shared<D: SlotDevice> {
    state: Mutex<State<D::Slot>>,
    /// Something may be done: asked for, guessed, released, loaded, or the end.
    work: Condvar,
    /// A load has ended.
    ended: Condvar,
    pub(super) device: D,
    pub(super) source: Arc<dyn ExpertSource>,
    pub(super) slot_bytes: u64,
}

impl<D: SlotDevice> Shared<D> {
    pub(super) fn new(device: D, source: Arc<dyn ExpertSource>, slots: usize, slot_bytes: u64) -> Self {
        let state = Mutex::new(State::new(slots));
        Self { state, work: Condvar::new(), ended: Condvar::new(), device, source, slot_bytes }
    }

    /// A thread that panics does so outside of the lock, so that the state is whole.
    pub(super) fn lock(&self) -> MutexGuard<'_, State<D::Slot>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the threads that there may be work.
    pub(super) fn wake(&self) {
        self.work.notify_all();
    }

    /// Waits for the end of a load.
    pub(super) fn wait<'s>(&'s self, state: MutexGuard<'s, State<D::Slot>>) -> MutexGuard<'s, State<D::Slot>> {
        self.ended.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches experts until the cache is dropped.
    pub(super) fn run(&self) {
        let mut state = self.lock();
        loop {
            if state.is_stopping {
                return;
            }
            match state.job(Instant::now) {
                Job::Wait => state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                Job::Fetch { wanted, slot, is_ahead } => {
                    drop(state);
                    let (slot, result) = self.fetch(&wanted, slot, is_ahead);
                    state = self.lock();
                    state.finish(wanted.key, slot, result, is_ahead);
                    self.ended.notify_all();
                    // Another thread may wait for this slot.
                    self.work.notify_all();
                }
            }
        }
    }

    /// Fills a slot, or a new one. A panic of the device or of the source is an error of this expert.
    fn fetch(
        &self,
        wanted: &Wanted,
        slot: Option<Arc<D::Slot>>,
        is_ahead: bool,
    ) -> (Option<Arc<D::Slot>>, Result<(), CacheError>) {
        let mut blob = wanted.parts.first().map(|part| part.range.blob);
        let mut kept = slot;
        let filled = catch_unwind(AssertUnwindSafe(|| -> io::Result<()> {
            if kept.is_none() {
                kept = Some(Arc::new(self.device.allocate(self.slot_bytes)?));
            }
            let slot = kept.as_mut().and_then(Arc::get_mut).expect("BUG: a free slot is in use");
            if is_ahead {
                self.source.ask(&wanted.ranges());
            }
            self.device.fill(slot, &wanted.parts, &mut |range, into| {
                blob = Some(range.blob);
                self.source.read(range, into)
            })
        }));
        let filled = filled.unwrap_or_else(|_| Err(io::Error::other("the device or the source panicked")));
        let result = filled.map_err(|error| CacheError::Fetch {
            key: wanted.key,
            blob: blob.unwrap_or_else(|| Digest::of(b"")),
            source: Arc::new(error),
        });
        (kept, result)
    }
}

impl Wanted {
    /// The ranges of the expert's bytes.
    pub(super) fn ranges(&self) -> Vec<ExpertRange> {
        self.parts.iter().map(|part| part.range).collect()
    }
}
