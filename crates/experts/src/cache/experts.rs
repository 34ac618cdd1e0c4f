//! The cache: what is held, fetched ahead and counted.

use std::{collections::HashSet, fmt, sync::Arc, time::Instant};

use super::{
    device::{SLOT_ALIGNMENT, SlotDevice, SlotPart},
    error::CacheError,
    guard::{Guard, HeldExpert, Ticket},
    source::ExpertSource,
    state::{Load, Wanted},
    stats::CacheStats,
    sync::{Builder, JoinHandle},
    threads::Shared,
};
use crate::{key::ExpertKey, map::ExpertMap};

/// Options of a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOptions {
    /// Number of slots, each as large as the largest expert. Memory for a slot is taken when it is first needed.
    pub slots: usize,
    /// Bytes that all slots together may take. `None` for no bound.
    pub budget: Option<u64>,
    /// Experts that are fetched at once and stay.
    pub pinned: Vec<ExpertKey>,
    /// Number of threads that fetch.
    pub threads: usize,
}

impl Default for CacheOptions {
    /// No slots, no bound, nothing pinned, and four threads.
    fn default() -> Self {
        Self { slots: 0, budget: None, pinned: Vec::new(), threads: 4 }
    }
}

/// Experts in slots: some pinned for good, and the latest used. What is in no slot is fetched whole, by threads that end with the cache.
///
/// Memory is that of the slots. A slot is used again only when no guard has it. Nothing here waits for a guard: where slots are wanting, a request
/// is an error at once, so that no order of requests blocks for ever.
///
/// ```no_run
/// use std::sync::Arc;
/// use longshore_experts::{CacheOptions, ExpertCache, ExpertFiles, ExpertMap, Host, manifest::weights::Source};
///
/// let source = Source::open("./Qwen3-30B-A3B")?;
/// let map = Arc::new(ExpertMap::new(&source)?);
/// let files = Arc::new(ExpertFiles::open(&source, &map)?);
/// let cache = ExpertCache::new(map, files, Host, &CacheOptions { slots: 256, ..CacheOptions::default() })?;
/// cache.prefetch(4, &[2, 9], None)?; // a guess for the next layer
/// for expert in cache.acquire(3, &[17, 4, 90])?.experts() {
///     let bytes = expert.slot().part(&expert.parts()[0]);
///     println!("{}: {} bytes", expert.key(), bytes.len());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ExpertCache<D: SlotDevice> {
    map: Arc<ExpertMap>,
    shared: Arc<Shared<D>>,
    threads: Vec<JoinHandle<()>>,
    slots: usize,
}

impl<D: SlotDevice> ExpertCache<D> {
    /// Makes a cache of the experts of `map` that reads from `source` into slots of `device`, and fetches the pinned ones.
    ///
    /// # Errors
    ///
    /// [`CacheError::Options`] and [`CacheError::Budget`] for options that cannot be met, [`CacheError::Unknown`] and
    /// [`CacheError::Twice`] for the pinned, [`CacheError::Fetch`] if one of them cannot be fetched, and [`CacheError::Thread`].
    pub fn new(
        map: Arc<ExpertMap>,
        source: Arc<dyn ExpertSource>,
        device: D,
        options: &CacheOptions,
    ) -> Result<Self, CacheError> {
        let CacheOptions { slots, budget, ref pinned, threads } = *options;
        if slots == 0 || threads == 0 || pinned.len() > slots {
            return Err(CacheError::Options { slots, pinned: pinned.len(), threads });
        }
        let layouts = map.keys().map(|key| layout(&map, key).map(|(_, bytes)| bytes));
        let slot_bytes = layouts.collect::<Result<Vec<_>, _>>()?.into_iter().max().unwrap_or(0).max(1);
        if let Some(budget) = budget
            && slot_bytes.checked_mul(slots as u64).is_none_or(|needed| needed > budget)
        {
            return Err(CacheError::Budget { slots, slot_bytes, budget });
        }
        let shared = Arc::new(Shared::new(device, source, slots, slot_bytes));
        let mut cache = Self { map, shared, threads: Vec::with_capacity(threads), slots };
        let wanted = cache.wanted(pinned.iter().copied())?;
        for _ in 0..threads {
            let shared = Arc::clone(&cache.shared);
            let thread = Builder::new().name("experts".to_owned()).spawn(move || shared.run());
            cache.threads.push(thread.map_err(|source| CacheError::Thread { source: Arc::new(source) })?);
        }
        let mut state = cache.shared.lock();
        let loads: Vec<Load> = wanted.iter().map(|wanted| state.pin(wanted)).collect();
        drop(state);
        cache.shared.wake();
        cache.wait(&wanted, &loads).map(drop)?;
        Ok(cache)
    }

    /// Holds experts of a layer in slots: all of them, or none. Waits for those that have to be fetched. The experts are distinct.
    ///
    /// # Errors
    ///
    /// [`CacheError::TooMany`] if other guards and the pinned leave too few slots, at once. [`CacheError::Fetch`] if one cannot be
    /// fetched: it is in no slot then, and a later request tries again. [`CacheError::Unknown`] and [`CacheError::Twice`].
    pub fn acquire(&self, layer: u32, experts: &[u32]) -> Result<Guard<D>, CacheError> {
        let wanted = self.wanted(experts.iter().map(|expert| ExpertKey { layer, expert: *expert }))?;
        let mut state = self.shared.lock();
        let (loads, missing) = state.hold(layer, &wanted)?;
        drop(state);
        if !missing.is_empty() {
            let ranges: Vec<_> = missing.iter().flat_map(Wanted::ranges).collect();
            self.shared.source.ask(&ranges);
        }
        self.shared.wake();
        let started = Instant::now();
        let result = self.wait(&wanted, &loads);
        let time = started.elapsed();
        let mut state = self.shared.lock();
        let counts = state.stats.layers.entry(layer).or_default();
        *(if missing.is_empty() { &mut counts.late_wait } else { &mut counts.miss_wait }) += time;
        match result {
            Ok(slots) => {
                drop(state);
                let held = wanted.into_iter().zip(loads).zip(slots);
                let experts =
                    held.map(|((Wanted { key, parts }, load), slot)| HeldExpert { key, load, slot, parts }).collect();
                Ok(Guard { shared: Arc::clone(&self.shared), experts })
            }
            Err(error) => {
                for (wanted, load) in wanted.iter().zip(&loads) {
                    state.release(wanted.key, load);
                }
                drop(state);
                self.shared.wake();
                Err(error)
            }
        }
    }

    /// Holds experts of a layer like [`Self::acquire`], as many at a time as there are free slots, and calls `each` with each part in turn.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::acquire`]. [`CacheError::TooMany`] means that there is no free slot at all.
    pub fn acquire_in_parts(
        &self,
        layer: u32,
        experts: &[u32],
        mut each: impl FnMut(Guard<D>),
    ) -> Result<(), CacheError> {
        self.wanted(experts.iter().map(|expert| ExpertKey { layer, expert: *expert }))?;
        let mut left = experts;
        while !left.is_empty() {
            let free = self.shared.lock().uncommitted();
            let (part, rest) = left.split_at(free.clamp(1, left.len()));
            each(self.acquire(layer, part)?);
            left = rest;
        }
        Ok(())
    }

    /// Asks for experts of a layer that are likely to be used, and does not wait. They take slots that are neither pinned nor held, after
    /// all that is asked for. What no thread has begun by the `deadline` is dropped, and so is what finds no slot. At most as
    /// many as there are slots are kept waiting.
    ///
    /// # Errors
    ///
    /// [`CacheError::Unknown`] and [`CacheError::Twice`].
    pub fn prefetch(&self, layer: u32, experts: &[u32], deadline: Option<Instant>) -> Result<Ticket<D>, CacheError> {
        let wanted = self.wanted(experts.iter().map(|expert| ExpertKey { layer, expert: *expert }))?;
        let mut state = self.shared.lock();
        let guesses = wanted.iter().filter_map(|wanted| Some((wanted.key, state.guess(wanted, deadline)?))).collect();
        drop(state);
        self.shared.wake();
        Ok(Ticket { shared: Arc::clone(&self.shared), guesses })
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.shared.lock().stats.clone()
    }

    /// Returns the map of the experts.
    #[must_use]
    pub fn map(&self) -> &Arc<ExpertMap> {
        &self.map
    }

    /// Returns the number of slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Returns the number of slots that are neither pinned nor held.
    #[must_use]
    pub fn free_slots(&self) -> usize {
        self.shared.lock().uncommitted()
    }

    /// Returns the size of a slot in bytes.
    #[must_use]
    pub fn slot_bytes(&self) -> u64 {
        self.shared.slot_bytes
    }

    /// Waits for experts that are held or pinned.
    fn wait(&self, wanted: &[Wanted], loads: &[Load]) -> Result<Vec<Arc<D::Slot>>, CacheError> {
        let mut slots = Vec::with_capacity(wanted.len());
        let mut state = self.shared.lock();
        while let Some(next) = wanted.get(slots.len()) {
            match state.ready(next.key, &loads[slots.len()]) {
                Some(slot) => slots.push(slot?),
                None => state = self.shared.wait(state),
            }
        }
        Ok(slots)
    }

    fn wanted(&self, keys: impl Iterator<Item = ExpertKey>) -> Result<Vec<Wanted>, CacheError> {
        let mut seen = HashSet::new();
        keys.map(|key| {
            if !seen.insert(key) {
                return Err(CacheError::Twice { key });
            }
            let (parts, _) = layout(&self.map, key)?;
            Ok(Wanted { key, parts: parts.into() })
        })
        .collect()
    }
}

/// The places of an expert's parts in a slot, and their end.
fn layout(map: &ExpertMap, key: ExpertKey) -> Result<(Vec<SlotPart>, u64), CacheError> {
    let mut end = 0_u64;
    let mut parts = Vec::new();
    for part in map.parts(key).ok_or(CacheError::Unknown { key })? {
        let at = end.saturating_add(SLOT_ALIGNMENT - 1) / SLOT_ALIGNMENT * SLOT_ALIGNMENT;
        end = at.saturating_add(part.range.len());
        parts.push(SlotPart { range: part.range, at });
    }
    Ok((parts, end))
}

impl<D: SlotDevice> Drop for ExpertCache<D> {
    fn drop(&mut self) {
        self.shared.lock().stop();
        self.shared.wake();
        for thread in self.threads.drain(..) {
            // A thread catches what panics in it.
            let _ = thread.join();
        }
    }
}

impl<D: SlotDevice> fmt::Debug for ExpertCache<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpertCache")
            .field("slots", &self.slots)
            .field("slot_bytes", &self.shared.slot_bytes)
            .field("device", &self.shared.device)
            .finish_non_exhaustive()
    }
}
