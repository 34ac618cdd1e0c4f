//! Weights that one checkpoint joins and another splits.

use std::ops::Range;

/// Joined weights by the last segment of their names, with the segments of what they join, in order.
const JOINED: [(&str, &[&str]); 4] = [
    ("qkv_proj", &["q_proj", "k_proj", "v_proj"]),
    ("Wqkv", &["q_proj", "k_proj", "v_proj"]),
    ("W_pack", &["q_proj", "k_proj", "v_proj"]),
    ("gate_up_proj", &["gate_proj", "up_proj"]),
];

/// The joined weights that may hold `module`: each with the place of the module among those that are joined.
pub(super) fn wholes(module: &str) -> impl Iterator<Item = (String, usize, usize)> {
    let (parent, last) = module.rsplit_once('.').unwrap_or(("", module));
    JOINED.iter().filter_map(move |(whole, parts)| {
        let place = parts.iter().position(|part| *part == last)?;
        Some((under(parent, whole), place, parts.len()))
    })
}

/// The weights that `module` may be split into, in order; none if it joins nothing.
pub(super) fn parts(module: &str) -> Vec<String> {
    let (parent, last) = module.rsplit_once('.').unwrap_or(("", module));
    let found = JOINED.iter().find(|(whole, _)| *whole == last);
    found.map(|(_, parts)| parts.iter().map(|part| under(parent, part)).collect()).unwrap_or_default()
}

fn under(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// The rows of a joined weight of `total` rows that belong to the part at `place` of `count`, which has `rows`. Of three parts the
/// second and the third have equal numbers of rows.
pub(super) fn rows(total: u64, place: usize, count: usize, rows: u64) -> Option<Range<u64>> {
    let range = match (place, count) {
        (_, 2) if rows.checked_mul(2)? == total => rows * place as u64..rows * (place as u64 + 1),
        (0, 3) if rows < total && (total - rows).is_multiple_of(2) => 0..rows,
        (1, 3) if rows.checked_mul(2)? < total => total - 2 * rows..total - rows,
        (2, 3) if rows.checked_mul(2)? < total => total - rows..total,
        _ => return None,
    };
    Some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_their_rows() {
        assert_eq!(
            [0, 1, 2].map(|place| rows(16, place, 3, if place == 0 { 8 } else { 4 })),
            [Some(0..8), Some(8..12), Some(12..16)]
        );
        assert_eq!([0, 1].map(|place| rows(16, place, 2, 8)), [Some(0..8), Some(8..16)]);
        assert_eq!((rows(16, 0, 2, 7), rows(16, 1, 3, 8), rows(16, 0, 3, 16)), (None, None, None));
        assert_eq!(rows(u64::MAX, 1, 3, u64::MAX), None);
    }

    #[test]
    fn names_of_parts_and_wholes() {
        let found: Vec<_> = wholes("layers.0.k_proj").collect();
        assert_eq!(found[0], ("layers.0.qkv_proj".to_owned(), 1, 3));
        assert_eq!(parts("l.gate_up_proj"), ["l.gate_proj", "l.up_proj"]);
        assert!(parts("l.down_proj").is_empty() && wholes("down_proj").next().is_none());
    }
}
