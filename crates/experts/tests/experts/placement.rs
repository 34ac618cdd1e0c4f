//! Tests of placement against the best there is.

use std::collections::BTreeMap;

use longshore_experts::{Budgets, ExpertKey, Placement, PlacementError, Tier, Unit, Uses, place_units};
use proptest::prelude::*;
use serde::Deserialize;

fn unit(layer: u32, expert: u32, bytes: u64) -> Unit {
    Unit { key: ExpertKey { layer, expert }, bytes }
}

fn host(budget: u64) -> Budgets {
    Budgets { device: None, host: Some(budget) }
}

/// Value that lies in a tier: uses times bytes.
fn value(placement: &Placement, tier: Tier) -> u64 {
    placement
        .experts
        .iter()
        .filter(|placed| placed.tier == tier)
        .map(|placed| placed.uses.unwrap_or(0) * placed.bytes)
        .sum()
}

/// Most value that a budget holds, by dynamic programming.
fn best(units: &[(u64, u64)], budget: usize) -> u64 {
    let mut best = vec![0; budget + 1];
    for (bytes, uses) in units {
        let bytes = usize::try_from(*bytes).unwrap();
        for room in (bytes..=budget).rev() {
            best[room] = best[room].max(best[room - bytes] + uses * bytes as u64);
        }
    }
    best[budget]
}

proptest! {
    #[test]
    fn greedy_loses_at_most_one_unit(
        units in prop::collection::vec((1_u64..20, 0_u64..9), 1..12), budget in 0_u64..120, shared in 0_u64..20
    ) {
        let listed: Vec<Unit> =
            (0..).zip(&units).map(|(at, (bytes, _))| unit(at / 4, at % 4, *bytes)).collect();
        let uses: Uses = listed.iter().zip(&units).map(|(unit, (_, uses))| (unit.key, *uses)).collect();
        let placement = place_units(&listed, shared, Some(&uses), host(budget + shared)).unwrap();
        let (found, best) = (value(&placement, Tier::Host), best(&units, usize::try_from(budget).unwrap()));
        let [in_host, on_disk] = &placement.tiers[..] else { panic!("there are two tiers") };
        prop_assert!(in_host.bytes <= budget);
        prop_assert_eq!(in_host.bytes + on_disk.bytes, units.iter().map(|(bytes, _)| bytes).sum::<u64>());
        prop_assert_eq!(in_host.experts + on_disk.experts, units.len());
        let largest = units.iter().map(|(bytes, uses)| bytes * uses).max().unwrap();
        prop_assert!(found <= best && best <= found + largest);
        // The printed bound is one.
        #[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
        let least = in_host.bound.unwrap() * best as f64;
        #[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
        let is_bound = found as f64 + 1e-6 >= least;
        prop_assert!(is_bound, "{} of {}, bound {:?}", found, best, in_host.bound);
        // The order of the units does not matter.
        let mut other = listed;
        other.reverse();
        prop_assert_eq!(place_units(&other, shared, Some(&uses), host(budget + shared)).unwrap(), placement);
    }
}

/// Experts of a made-up routing, with the value of the best placement, by another program.
#[derive(Deserialize)]
struct Case {
    budget: u64,
    best: u64,
    sizes: Vec<u64>,
    uses: Vec<Vec<u64>>,
}

#[test]
fn a_thousand_experts_are_placed_within_a_thousandth_of_the_best() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../vectors/placements.json")).unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let (mut units, mut uses) = (Vec::new(), BTreeMap::new());
        for ((layer, bytes), counts) in (0..).zip(&case.sizes).zip(&case.uses) {
            for (expert, count) in (0..).zip(counts) {
                units.push(unit(layer, expert, *bytes));
                uses.insert(ExpertKey { layer, expert }, *count);
            }
        }
        let placement = place_units(&units, 0, Some(&uses), host(case.budget)).unwrap();
        let found = value(&placement, Tier::Host);
        assert!(found <= case.best && found * 1000 >= case.best * 999, "{found} of {}", case.best);
        assert!(placement.tiers[0].bytes <= case.budget);
        assert!(placement.tiers[0].bound.unwrap() >= 0.999);
    }
}

#[test]
fn ties_go_to_the_lower_layer_and_then_to_the_lower_number() {
    let units = [unit(1, 0, 4), unit(0, 1, 4), unit(0, 0, 4), unit(2, 0, 4)];
    let uses = Uses::from([(ExpertKey { layer: 2, expert: 0 }, 1)]);
    let placement = place_units(&units, 1, Some(&uses), host(13)).unwrap();
    let tiers: Vec<_> = placement.experts.iter().map(|placed| placed.tier).collect();
    assert_eq!(tiers, [Tier::Host, Tier::Host, Tier::Disk, Tier::Host]);
    assert_eq!(placement.tiers[0].bytes, 12);
}

#[test]
fn without_uses_whole_layers_come_from_the_last() {
    let units: Vec<Unit> = (0..4).flat_map(|layer| (0..2).map(move |expert| unit(layer, expert, 10))).collect();
    let budgets = Budgets { device: Some(30), host: Some(45) };
    let placement = place_units(&units, 10, None, budgets).unwrap();
    assert!(!placement.is_by_uses);
    let tiers: Vec<_> = placement.experts.iter().step_by(2).map(|placed| (placed.tier, placed.uses)).collect();
    assert_eq!(tiers, [(Tier::Disk, None), (Tier::Host, None), (Tier::Host, None), (Tier::Device, None)]);
    let shares: Vec<_> = placement.tiers.iter().map(|share| (share.tier, share.bytes, share.experts)).collect();
    assert_eq!(shares, [(Tier::Device, 20, 2), (Tier::Host, 40, 4), (Tier::Disk, 20, 2)]);
    // Without a bound nothing is left to the disk.
    let all = place_units(&units, 10, None, Budgets::default()).unwrap();
    assert_eq!(all.tiers[0].experts, 8);
    assert_eq!(all.tiers.len(), 2);
}

#[test]
fn what_cannot_be_placed_is_an_error() {
    let units = [unit(0, 0, 4), unit(0, 1, 4)];
    assert_eq!(
        place_units(&units, 10, None, host(9)).unwrap_err(),
        PlacementError::Budget { tier: Tier::Host, budget: 9, shared: 10 }
    );
    // The shared part lies on the device where there is one.
    let on_device = place_units(&units, 10, None, Budgets { device: Some(10), host: Some(0) }).unwrap();
    assert_eq!(on_device.tiers.iter().map(|share| share.experts).collect::<Vec<_>>(), [0, 0, 2]);
    let key = ExpertKey { layer: 0, expert: 2 };
    let unknown = Uses::from([(key, 1)]);
    assert_eq!(place_units(&units, 0, Some(&unknown), host(9)).unwrap_err(), PlacementError::Unknown { key });
    let large = [unit(0, 0, u64::MAX), unit(0, 1, 1)];
    let key = large[1].key;
    assert_eq!(place_units(&large, 0, None, host(9)).unwrap_err(), PlacementError::Overflow { key });
    let twice = [unit(0, 1, 1), unit(0, 1, 1)];
    assert_eq!(place_units(&twice, 0, None, host(9)).unwrap_err(), PlacementError::Twice { key });
    // Counts of a long routing do not overflow.
    let huge = [unit(0, 0, u64::MAX)];
    let uses = Uses::from([(huge[0].key, u64::MAX)]);
    assert_eq!(place_units(&huge, 0, Some(&uses), Budgets::default()).unwrap().tiers[0].bound, Some(1.0));
}
