//! Choice of the experts that a budget holds.

use std::cmp::Reverse;

use super::tier::Unit;

/// The units that a budget holds.
pub(super) struct Chosen {
    /// Numbers of the units, ascending.
    pub(super) units: Vec<usize>,
    pub(super) bytes: u64,
    /// Value of the chosen units divided by a bound that no choice exceeds.
    pub(super) bound: Option<f64>,
}

/// Chooses by density. A unit's value is its uses times its bytes, the bytes that need not move, so that its density is its uses. Of units
/// used alike, the first counts. A unit that does not fit is passed over.
///
/// ```text
/// best ≤ the values of the densest units that fit one after the other + the density of the next × the bytes that are left
/// ```
pub(super) fn by_uses(units: &[(usize, Unit, u64)], budget: Option<u64>) -> Chosen {
    let mut order: Vec<_> = units.iter().collect();
    order.sort_by_key(|(_, unit, uses)| (Reverse(*uses), unit.key));
    let (mut chosen, mut left) = (Vec::new(), budget.unwrap_or(u64::MAX));
    let (mut value, mut rest) = (0_u128, None);
    for (at, unit, uses) in order {
        let worth = |bytes: u64| u128::from(*uses) * u128::from(bytes);
        if unit.bytes <= left {
            left -= unit.bytes;
            value = value.saturating_add(worth(unit.bytes));
            chosen.push((*at, unit.bytes));
        } else if rest.is_none() {
            // Everything before was taken, so that this is the bound of all choices.
            rest = Some(value.saturating_add(worth(left)));
        }
    }
    Chosen::new(chosen, Some(share(value, rest.unwrap_or(value))))
}

/// Chooses whole layers from the last one, as long as they fit.
pub(super) fn by_layers(units: &[(usize, Unit, u64)], budget: Option<u64>) -> Chosen {
    let (mut chosen, mut left) = (Vec::new(), budget.unwrap_or(u64::MAX));
    for layer in units.chunk_by(|(_, a, _), (_, b, _)| a.key.layer == b.key.layer).rev() {
        let bytes: u64 = layer.iter().map(|(_, unit, _)| unit.bytes).sum();
        if bytes > left {
            break;
        }
        left -= bytes;
        chosen.extend(layer.iter().map(|(at, unit, _)| (*at, unit.bytes)));
    }
    Chosen::new(chosen, None)
}

impl Chosen {
    fn new(chosen: Vec<(usize, u64)>, bound: Option<f64>) -> Self {
        let bytes = chosen.iter().map(|(_, bytes)| bytes).sum();
        let mut units: Vec<_> = chosen.into_iter().map(|(at, _)| at).collect();
        units.sort_unstable();
        Self { units, bytes, bound }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share of 1 does not need more digits")]
fn share(value: u128, of: u128) -> f64 {
    if of == 0 { 1.0 } else { value as f64 / of as f64 }
}
