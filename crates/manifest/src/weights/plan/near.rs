//! Names that are like what was asked for.

use std::collections::HashSet;

/// Number of names that a message lists.
const LISTED: usize = 3;

/// Returns the names that share most triples of characters with one of the `wanted` names or patterns, the most alike first.
pub(super) fn near<'n>(wanted: &[&str], names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let wanted: Vec<_> = wanted.iter().map(|wanted| triples(wanted)).collect();
    let mut found: Vec<(usize, usize, &str)> = Vec::new();
    for name in names {
        let own = triples(name);
        let shared = wanted.iter().map(|wanted| wanted.intersection(&own).count()).max().unwrap_or_default();
        let least = wanted.iter().map(|wanted| wanted.len() / 3).min().unwrap_or_default().max(1);
        if shared >= least {
            found.push((shared, own.len(), name));
        }
    }
    // Of names that share as much, the shorter, then the first.
    found.sort_by(|a, b| (b.0, a.1, a.2).cmp(&(a.0, b.1, b.2)));
    found.dedup_by_key(|found| found.2);
    found.into_iter().take(LISTED).map(|(.., name)| name.to_owned()).collect()
}

/// The triples of neighbouring bytes between the wildcards of a pattern.
fn triples(text: &str) -> HashSet<&[u8]> {
    text.split(['*', '?', '[', ']', '{', '}', ',']).flat_map(|part| part.as_bytes().windows(3)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_alike_come_first() {
        let names =
            ["model.norm.weight", "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight"];
        let of = |wanted: &[&str]| near(wanted, names.into_iter());
        assert_eq!(of(&["*.q_prj.*"])[0], names[1]);
        assert_eq!(of(&["model.nrm.weight"])[0], names[0]);
        assert_eq!(of(&["*zzz*"]), [""; 0]);
        assert_eq!(of(&[]), [""; 0]);
    }
}
