//! The state of a cache: which experts are in slots, on their way, or asked for. It knows no threads.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, OnceLock},
    time::Instant,
};

use super::{
    device::SlotPart,
    error::CacheError,
    stats::{CacheStats, LayerStats},
};
use crate::key::ExpertKey;

/// An expert on its way, for those who wait for it. The error is set when it fails.
pub(super) type Load = Arc<OnceLock<CacheError>>;

/// An expert to be put into a slot.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) key: ExpertKey,
    pub(super) parts: Arc<[SlotPart]>,
}

/// Work for a thread.
pub(super) enum Job<S> {
    /// This expert is to be fetched into a slot: the one given, or a new one.
    Fetch { wanted: Wanted, slot: Option<Arc<S>>, is_ahead: bool },
    /// Nothing can be done until something changes.
    Wait,
}

/// An expert that is in a slot or will be.
struct Entry<S> {
    parts: Arc<[SlotPart]>,
    load: Load,
    phase: Phase<S>,
    /// Number of guards and of requests that wait.
    holders: usize,
    is_pinned: bool,
    /// Whether it was fetched ahead and not asked for yet.
    is_unused: bool,
}

/// Room for an expert.
enum Room<S> {
    /// A slot that is to be allocated.
    New,
    /// A slot that another expert had.
    Freed(Arc<S>),
}

enum Phase<S> {
    /// In the queue of requests.
    Asked,
    /// In the queue of what is fetched ahead. It has no holders.
    Guessed { deadline: Option<Instant> },
    /// A thread fetches it.
    Loading,
    /// In a slot. The tick is that of its last use.
    Ready { slot: Arc<S>, tick: u64 },
}

/// Experts that are pinned or have holders are committed: each has a slot or will get one, and there are never more than slots. A slot is
/// taken by an expert that is loading or ready. So where an asked expert finds all slots taken and none that can be evicted, one of
/// them is loading for nobody, and will be free.
pub(super) struct State<S> {
    slots: usize,
    entries: HashMap<ExpertKey, Entry<S>>,
    /// Slots that hold nothing.
    free: Vec<Arc<S>>,
    /// Number of experts that are loading or ready.
    taken: usize,
    committed: usize,
    /// Experts that can be evicted, by the tick of their last use.
    evictable: BTreeMap<u64, ExpertKey>,
    tick: u64,
    asked: VecDeque<ExpertKey>,
    guessed: VecDeque<ExpertKey>,
    pub(super) is_stopping: bool,
    pub(super) stats: CacheStats,
}

impl<S> State<S> {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots,
            entries: HashMap::new(),
            free: Vec::new(),
            taken: 0,
            committed: 0,
            evictable: BTreeMap::new(),
            tick: 0,
            asked: VecDeque::new(),
            guessed: VecDeque::new(),
            is_stopping: false,
            stats: CacheStats::default(),
        }
    }

    /// Number of slots that are neither pinned nor held.
    pub(super) fn uncommitted(&self) -> usize {
        self.slots - self.committed
    }

    /// Holds all these experts of a layer or none, and asks for those that are not there. Returns what tells when each is, and those that
    /// have to be fetched.
    pub(super) fn hold(&mut self, layer: u32, wanted: &[Wanted]) -> Result<(Vec<Load>, Vec<Wanted>), CacheError> {
        let is_new = |wanted: &&Wanted| self.entries.get(&wanted.key).is_none_or(|entry| !entry.is_committed());
        let (asked, free) = (wanted.iter().filter(is_new).count(), self.uncommitted());
        if asked > free {
            return Err(CacheError::TooMany { layer, asked, free, slots: self.slots });
        }
        self.committed += asked;
        let (mut loads, mut missing) = (Vec::with_capacity(wanted.len()), Vec::new());
        for Wanted { key, parts } in wanted {
            let bytes = bytes(parts);
            let stats = self.stats.layers.entry(key.layer).or_default();
            let Some(entry) = self.entries.get_mut(key) else {
                stats.misses += 1;
                stats.miss_bytes += bytes;
                missing.push(Wanted { key: *key, parts: Arc::clone(parts) });
                let entry = Entry { holders: 1, ..Entry::asked(parts) };
                loads.push(Arc::clone(&entry.load));
                self.entries.insert(*key, entry);
                self.asked.push_back(*key);
                continue;
            };
            entry.holders += 1;
            entry.is_unused = false;
            loads.push(Arc::clone(&entry.load));
            match &mut entry.phase {
                Phase::Ready { tick, .. } => {
                    stats.hits += 1;
                    stats.hit_bytes += bytes;
                    self.evictable.remove(tick);
                    self.tick += 1;
                    *tick = self.tick;
                    continue;
                }
                Phase::Guessed { .. } => {
                    entry.phase = Phase::Asked;
                    self.guessed.retain(|other| other != key);
                    self.asked.push_back(*key);
                }
                Phase::Asked | Phase::Loading => {}
            }
            stats.late += 1;
            stats.late_bytes += bytes;
        }
        Ok((loads, missing))
    }

    /// Asks for an expert that will be pinned. It was not asked for before.
    pub(super) fn pin(&mut self, Wanted { key, parts }: &Wanted) -> Load {
        let entry = Entry { is_pinned: true, ..Entry::asked(parts) };
        let load = Arc::clone(&entry.load);
        self.committed += 1;
        self.entries.insert(*key, entry);
        self.asked.push_back(*key);
        load
    }

    /// Queues an expert to be fetched ahead, if it is not there and not on its way, and if fewer are queued than there are slots.
    pub(super) fn guess(&mut self, Wanted { key, parts }: &Wanted, deadline: Option<Instant>) -> Option<Load> {
        if self.entries.contains_key(key) || self.guessed.len() >= self.slots {
            return None;
        }
        let entry = Entry { phase: Phase::Guessed { deadline }, is_unused: true, ..Entry::asked(parts) };
        let load = Arc::clone(&entry.load);
        self.entries.insert(*key, entry);
        self.guessed.push_back(*key);
        Some(load)
    }

    /// Takes back a guess that no thread has begun and nobody has asked for. Returns whether it was one.
    pub(super) fn cancel(&mut self, key: ExpertKey, load: &Load) -> bool {
        let is_it = |entry: &Entry<S>| Arc::ptr_eq(&entry.load, load) && matches!(entry.phase, Phase::Guessed { .. });
        if !self.entries.get(&key).is_some_and(is_it) {
            return false;
        }
        self.entries.remove(&key);
        self.guessed.retain(|other| *other != key);
        true
    }

    /// The slot of an expert that is held, or the error with which its load failed. `None` while it is on its way.
    pub(super) fn ready(&self, key: ExpertKey, load: &Load) -> Option<Result<Arc<S>, CacheError>> {
        if let Some(error) = load.get() {
            return Some(Err(error.clone()));
        }
        match &self.entries.get(&key)?.phase {
            Phase::Ready { slot, .. } => Some(Ok(Arc::clone(slot))),
            _ => None,
        }
    }

    /// Gives up a hold. A load that failed has given it up already. Nobody fetches an expert that was asked for and that nobody holds.
    pub(super) fn release(&mut self, key: ExpertKey, load: &Load) {
        let Some(entry) = self.entries.get_mut(&key).filter(|entry| Arc::ptr_eq(&entry.load, load)) else { return };
        entry.holders -= 1;
        if entry.is_committed() {
            return;
        }
        self.committed -= 1;
        match &entry.phase {
            Phase::Ready { tick, .. } => {
                self.evictable.insert(*tick, key);
            }
            Phase::Asked => {
                self.entries.remove(&key);
                self.asked.retain(|other| *other != key);
            }
            Phase::Guessed { .. } | Phase::Loading => {}
        }
    }

    /// Takes the next work: what was asked for first, then guesses. A guess that is too late, or that finds no slot, is dropped.
    pub(super) fn job(&mut self, now: impl Fn() -> Instant) -> Job<S> {
        if let Some(key) = self.asked.front().copied() {
            let Some(room) = self.take_slot() else { return Job::Wait };
            self.asked.pop_front();
            return self.begin(key, room, false);
        }
        while let Some(key) = self.guessed.pop_front() {
            let entry = self.entries.get(&key).expect("a queued expert has an entry");
            let is_late = matches!(entry.phase, Phase::Guessed { deadline: Some(deadline) } if deadline <= now());
            match if is_late { None } else { self.take_slot() } {
                Some(room) => return self.begin(key, room, true),
                None => {
                    self.entries.remove(&key);
                }
            }
        }
        Job::Wait
    }

    /// Ends the load of an expert.
    pub(super) fn finish(
        &mut self,
        key: ExpertKey,
        slot: Option<Arc<S>>,
        result: Result<(), CacheError>,
        is_ahead: bool,
    ) {
        let entry = self.entries.get_mut(&key).expect("a loading expert has an entry");
        let stats = self.stats.layers.entry(key.layer).or_default();
        match (result, slot) {
            (Ok(()), Some(slot)) => {
                if is_ahead {
                    stats.prefetched += 1;
                    stats.prefetched_bytes += bytes(&entry.parts);
                }
                self.tick += 1;
                entry.phase = Phase::Ready { slot, tick: self.tick };
                if !entry.is_committed() {
                    self.evictable.insert(self.tick, key);
                }
            }
            (result, slot) => {
                stats.failed += 1;
                let entry = self.entries.remove(&key).expect("it was there");
                self.committed -= usize::from(entry.is_committed());
                self.taken -= 1;
                self.free.extend(slot);
                if let Err(error) = result {
                    let _ = entry.load.set(error);
                }
            }
        }
    }

    /// Drops what nobody has begun.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        for key in self.guessed.drain(..) {
            self.entries.remove(&key);
        }
    }

    fn begin(&mut self, key: ExpertKey, room: Room<S>, is_ahead: bool) -> Job<S> {
        let entry = self.entries.get_mut(&key).expect("a queued expert has an entry");
        entry.phase = Phase::Loading;
        self.taken += 1;
        let slot = match room {
            Room::New => None,
            Room::Freed(slot) => Some(slot),
        };
        Job::Fetch { wanted: Wanted { key, parts: Arc::clone(&entry.parts) }, slot, is_ahead }
    }

    /// Makes room for an expert, where there can be.
    fn take_slot(&mut self) -> Option<Room<S>> {
        if self.taken < self.slots {
            return Some(self.free.pop().map_or(Room::New, Room::Freed));
        }
        let (_, key) = self.evictable.pop_first()?;
        let entry = self.entries.remove(&key).expect("an evictable expert has an entry");
        self.taken -= 1;
        if entry.is_unused {
            let stats: &mut LayerStats = self.stats.layers.entry(key.layer).or_default();
            stats.wasted += 1;
            stats.wasted_bytes += bytes(&entry.parts);
        }
        match entry.phase {
            Phase::Ready { slot, .. } => Some(Room::Freed(slot)),
            _ => Some(Room::New),
        }
    }
}

impl<S> Entry<S> {
    fn asked(parts: &Arc<[SlotPart]>) -> Self {
        let (parts, load) = (Arc::clone(parts), Load::default());
        Self { parts, load, phase: Phase::Asked, holders: 0, is_pinned: false, is_unused: false }
    }

    fn is_committed(&self) -> bool {
        self.is_pinned || self.holders > 0
    }
}

fn bytes(parts: &[SlotPart]) -> u64 {
    parts.iter().map(|part| part.range.len()).sum()
}
