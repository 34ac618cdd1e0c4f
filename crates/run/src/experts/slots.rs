//! Slots of memory that hold experts, and the weights in them.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use longshore_experts::{
    CacheOptions, CacheStats, ExpertCache, ExpertFiles, ExpertKey, ExpertMap, ExpertPart, Guard, Host, PastPageCache,
    ReadAheadError,
};
use longshore_manifest::{document::Role, weights::Source};
use longshore_quant::matmul::Weights;

use crate::{
    error::{LoadError, RunError},
    spec::Spec,
    weights::{Bound, ExpertLayer, Experts, Ffn},
};

/// Codes, scales and biases of a projection, by their numbers among the parts of an expert.
type Places = [Option<usize>; 3];

/// Slots of memory, each of which holds an expert.
#[derive(Debug)]
pub(crate) struct Slots {
    cache: ExpertCache<Host>,
    files: Arc<ExpertFiles>,
    /// Of each layer and expert the places of gate, up and down.
    places: BTreeMap<u32, Vec<[Places; 3]>>,
    /// Batches take turns, so that none finds too few slots free.
    turn: Mutex<()>,
}

/// Experts that are in slots.
#[derive(Debug)]
pub(crate) struct Held<'s> {
    guard: Guard<Host>,
    places: &'s [[Places; 3]],
}

impl Slots {
    pub(super) fn open(
        source: &Source,
        map: ExpertMap,
        (spec, bound): (&Spec, &Bound<'_>),
        budget: u64,
    ) -> Result<Self, LoadError> {
        let experts = spec.moe.as_ref().map_or(0, |moe| moe.experts);
        let mut places = BTreeMap::new();
        for (number, layer) in layers(bound) {
            let of = |expert: u32| {
                let parts = map.parts(ExpertKey::new(number, expert)).expect("the layer has as many experts");
                let mut places = [Places::default(); 3];
                for (places, projection) in places.iter_mut().zip(layer.projections()) {
                    let Some(projection) = projection else { continue };
                    *places = find(&parts, projection, expert as usize, experts)?;
                }
                Ok::<_, LoadError>(places)
            };
            let of_layer = (0..).take(experts).map(of).collect::<Result<Vec<_>, _>>()?;
            places.insert(number, of_layer);
        }
        let map = Arc::new(map);
        let files = Arc::new(ExpertFiles::open(source, &map).map_err(ReadAheadError::from)?);
        let slot = ExpertCache::<Host>::slot_bytes_of(&map).map_err(LoadError::Slots)?;
        // More slots than experts would stay empty.
        let slots = usize::try_from(budget / slot).unwrap_or(usize::MAX).min(map.len());
        if slots == 0 {
            return Err(LoadError::Budget { budget, slot });
        }
        let options = CacheOptions { slots, budget: Some(budget), ..CacheOptions::default() };
        let past = Arc::new(PastPageCache::new(Arc::clone(&files)));
        let cache = ExpertCache::new(map, past, Host, &options).map_err(LoadError::Slots)?;
        Ok(Self { cache, files, places, turn: Mutex::new(()) })
    }

    /// Bytes that all slots together take at most.
    pub(super) fn bytes(&self) -> u64 {
        self.cache.slots() as u64 * self.cache.slot_bytes()
    }

    pub(super) fn stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// Calls `work` with as many experts as there are free slots, in order, and has the next ones read meanwhile.
    pub(super) fn each(
        &self,
        layer: u32,
        experts: &[u32],
        mut work: impl FnMut(Range<usize>, &Held<'_>),
    ) -> Result<(), RunError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let places = self.places.get(&layer).map_or(&[][..], Vec::as_slice);
        let mut start = 0;
        while start < experts.len() {
            let count = self.cache.free_slots().clamp(1, experts.len() - start);
            let end = start + count;
            let held = Held { guard: self.cache.acquire(layer, &experts[start..end])?, places };
            let next = &experts[end..experts.len().min(end + count)];
            if !next.is_empty() {
                self.files.ask(&self.cache.map().ranges_of(layer, next));
            }
            work(start..end, &held);
            start = end;
        }
        Ok(())
    }
}

impl Held<'_> {
    /// The weights of a projection, 0 to 2, of each of the experts.
    pub(crate) fn weights(&self, projection: usize, mapped: &Experts<'_>, experts: usize) -> Vec<Weights<'_>> {
        let all = self.guard.experts().iter().map(|held| {
            let expert = held.key().expert as usize;
            let places = self.places[expert][projection];
            let parts = places.map(|at| at.map_or(&[][..], |at| held.slot().part(&held.parts()[at])));
            mapped.of(expert, experts).with_parts(parts)
        });
        let all: Result<Vec<_>, _> = all.collect();
        all.expect("opening has compared the lengths")
    }
}

/// Finds the parts of a projection, which are as long as those that are mapped.
fn find(parts: &[ExpertPart<'_>], mapped: &Experts<'_>, expert: usize, experts: usize) -> Result<Places, LoadError> {
    let name = mapped.shown(expert)[0];
    let mut places = Places::default();
    let roles = [Role::Weight, Role::Scale, Role::Bias];
    for ((place, role), bytes) in places.iter_mut().zip(roles).zip(mapped.of(expert, experts).parts()) {
        if bytes.is_empty() {
            continue;
        }
        let is_it = |part: &ExpertPart<'_>| part.tensor.name == name && part.role == role;
        let at = parts.iter().position(is_it).filter(|at| parts[*at].range.len() == bytes.len() as u64);
        let Some(at) = at else {
            let reason = format!("expert {expert} has no bytes of its own in {name:?}");
            return Err(LoadError::ExpertMemory { name: name.to_owned(), reason });
        };
        *place = Some(at);
    }
    Ok(places)
}

/// The layers that have experts, with their numbers.
pub(super) fn layers<'b, 'w>(bound: &'b Bound<'w>) -> impl Iterator<Item = (u32, &'b ExpertLayer<'w>)> {
    (0..).zip(&bound.layers).filter_map(|(number, layer)| match &layer.ffn {
        Ffn::Experts(layer) => Some((number, &**layer)),
        Ffn::Dense(_) => None,
    })
}
