//! Guards, which keep slots while they are used, and tickets of what is fetched ahead.

use std::{fmt, sync::Arc};

use super::{
    device::{SlotDevice, SlotPart},
    state::Load,
    threads::Shared,
};
use crate::key::ExpertKey;

/// Experts in slots. No slot is used for another expert before the guard is dropped. A guard may outlive its cache.
pub struct Guard<D: SlotDevice> {
    pub(super) shared: Arc<Shared<D>>,
    pub(super) experts: Vec<HeldExpert<D>>,
}

/// An expert in a slot.
pub struct HeldExpert<D: SlotDevice> {
    pub(super) key: ExpertKey,
    pub(super) load: Load,
    pub(super) slot: Arc<D::Slot>,
    pub(super) parts: Arc<[SlotPart]>,
}

/// Experts that are to be fetched ahead. Dropping a ticket changes nothing.
pub struct Ticket<D: SlotDevice> {
    pub(super) shared: Arc<Shared<D>>,
    pub(super) guesses: Vec<(ExpertKey, Load)>,
}

impl<D: SlotDevice> Guard<D> {
    /// Returns the experts, in the order in which they were asked for.
    #[must_use]
    pub fn experts(&self) -> &[HeldExpert<D>] {
        &self.experts
    }
}

impl<D: SlotDevice> HeldExpert<D> {
    /// Returns the expert.
    #[must_use]
    pub fn key(&self) -> ExpertKey {
        self.key
    }

    /// Returns the slot that holds it.
    #[must_use]
    pub fn slot(&self) -> &D::Slot {
        &self.slot
    }

    /// Returns its parts and their places in the slot, in the order of [`ExpertMap::parts`](crate::ExpertMap::parts).
    #[must_use]
    pub fn parts(&self) -> &[SlotPart] {
        &self.parts
    }
}

impl<D: SlotDevice> Ticket<D> {
    /// Returns the number of experts that are to be fetched: those that were in no slot and not on their way, up to the number of slots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.guesses.len()
    }

    /// Whether nothing is to be fetched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.guesses.is_empty()
    }

    /// Takes back what no thread has begun to fetch and nobody has asked for meanwhile. Returns the number of these experts.
    #[expect(clippy::must_use_candidate, reason = "the number is only worth a count")]
    pub fn cancel(self) -> usize {
        let mut state = self.shared.lock();
        self.guesses.iter().filter(|(key, load)| state.cancel(*key, load)).count()
    }
}

impl<D: SlotDevice> Drop for Guard<D> {
    fn drop(&mut self) {
        // The slots go before the holds: who gets one may be the only one who has it.
        let held: Vec<_> = self.experts.drain(..).map(|expert| (expert.key, expert.load)).collect();
        let mut state = self.shared.lock();
        for (key, load) in held {
            state.release(key, &load);
        }
        drop(state);
        self.shared.wake();
    }
}

impl<D: SlotDevice> fmt::Debug for Guard<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("experts", &self.experts).finish_non_exhaustive()
    }
}

impl<D: SlotDevice> fmt::Debug for HeldExpert<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldExpert").field("key", &self.key).field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl<D: SlotDevice> fmt::Debug for Ticket<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.guesses.iter().map(|(key, _)| key)).finish()
    }
}
