//! Choice of a place for every expert.

use std::collections::BTreeMap;

use super::{
    error::PlacementError,
    greedy::{by_layers, by_uses},
    tier::{Budgets, Placed, Placement, Tier, TierShare, Unit, Uses},
};
use crate::{key::ExpertKey, map::ExpertMap};

/// Places the experts of a model. With `uses`, each tier takes the most used experts that fit; ties go to the lower layer, then to the
/// lower number. Without, whole layers are taken from the last. The same arguments give the same placement.
///
/// # Errors
///
/// [`PlacementError::Budget`] if what every token uses does not fit into the first tier, [`PlacementError::Unknown`] for uses of an
/// expert that the model does not have, and [`PlacementError::Overflow`].
pub fn place(map: &ExpertMap, uses: Option<&Uses>, budgets: Budgets) -> Result<Placement, PlacementError> {
    let bytes = |key| map.bytes(key).expect("the map lists the expert");
    let units: Vec<Unit> = map.keys().map(|key| Unit { key, bytes: bytes(key) }).collect();
    place_units(&units, map.shared_bytes(), uses, budgets)
}

/// Places `units` like [`place`], in any order. `shared` is the size in bytes of what every token uses.
///
/// # Errors
///
/// The errors of [`place`], and [`PlacementError::Twice`].
pub fn place_units(
    units: &[Unit],
    shared: u64,
    uses: Option<&Uses>,
    budgets: Budgets,
) -> Result<Placement, PlacementError> {
    let mut units = units.to_vec();
    units.sort_unstable_by_key(|unit| unit.key);
    let mut bytes = 0_u64;
    for unit in &units {
        bytes = bytes.checked_add(unit.bytes).ok_or(PlacementError::Overflow { key: unit.key })?;
    }
    if let Some(twice) = units.windows(2).find(|pair| pair[0].key == pair[1].key) {
        return Err(PlacementError::Twice { key: twice[0].key });
    }
    let is_known = |key: &ExpertKey| units.binary_search_by_key(key, |unit| unit.key).is_ok();
    if let Some(key) = uses.into_iter().flat_map(BTreeMap::keys).find(|key| !is_known(key)) {
        return Err(PlacementError::Unknown { key: *key });
    }
    let count = |key| uses.map(|uses| uses.get(&key).copied().unwrap_or(0));
    let mut left: Vec<(usize, Unit, u64)> =
        units.iter().enumerate().map(|(at, unit)| (at, *unit, count(unit.key).unwrap_or(0))).collect();
    let mut experts: Vec<Placed> = units
        .iter()
        .map(|unit| Placed { key: unit.key, tier: Tier::Disk, bytes: unit.bytes, uses: count(unit.key) })
        .collect();
    let mut tiers = Vec::new();
    let bounded =
        budgets.device.map(|budget| (Tier::Device, Some(budget))).into_iter().chain([(Tier::Host, budgets.host)]);
    for (at, (tier, budget)) in bounded.enumerate() {
        let room = match budget {
            Some(budget) if at == 0 => {
                Some(budget.checked_sub(shared).ok_or(PlacementError::Budget { tier, budget, shared })?)
            }
            other => other,
        };
        let chosen = if uses.is_some() { by_uses(&left, room) } else { by_layers(&left, room) };
        for unit in &chosen.units {
            experts[*unit].tier = tier;
        }
        left.retain(|(unit, ..)| chosen.units.binary_search(unit).is_err());
        let (bytes, experts, bound) = (chosen.bytes, chosen.units.len(), chosen.bound);
        tiers.push(TierShare { tier, budget, bytes, experts, bound });
    }
    let bytes = left.iter().map(|(_, unit, _)| unit.bytes).sum();
    tiers.push(TierShare { tier: Tier::Disk, budget: None, bytes, experts: left.len(), bound: None });
    Ok(Placement { shared_bytes: shared, tiers, experts, is_by_uses: uses.is_some() })
}
