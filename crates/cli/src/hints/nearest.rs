//! The word that somebody meant.

/// The candidate that differs least from a mistyped word, if it is near enough to be meant: a third of its letters, and one at least.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &str| (candidate.chars().count() / 3).max(1);
    let scored = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    scored.filter(|(distance, candidate)| *distance <= near(candidate)).min().map(|(_, candidate)| candidate)
}

/// Number of letters to insert, delete, replace or swap with a neighbour to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) =
        (from.to_lowercase().chars().collect(), to.to_lowercase().chars().collect());
    // Distances from the first letters of one word, one letter less and two less, to those of the other.
    let mut before = vec![0; to.len() + 1];
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (row, &letter) in from.iter().enumerate() {
        let mut here = vec![row + 1];
        for (column, &other) in to.iter().enumerate() {
            let mut least =
                (above[column] + usize::from(letter != other)).min(above[column + 1] + 1).min(here[column] + 1);
            let is_swap = row > 0 && column > 0 && letter == to[column - 1] && from[row - 1] == other;
            if is_swap {
                least = least.min(before[column - 1] + 1);
            }
            here.push(least);
        }
        before = std::mem::replace(&mut above, here);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_is_understood() {
        let policies = ["default", "uniform", "v0.16", "v0.32"];
        assert_eq!(nearest("defualt", policies), Some("default"));
        assert_eq!(nearest("UNIFROM", policies), Some("uniform"));
        assert_eq!(nearest("v0.33", policies), Some("v0.32"));
        assert_eq!(nearest("best", policies), None);
        assert_eq!(nearest("", policies), None);
    }

    #[test]
    fn distances_count_letters() {
        for (from, to, letters) in
            [("", "", 0), ("a", "", 1), ("ab", "ba", 1), ("abc", "abd", 1), ("abc", "b", 2), ("int4", "int8", 1)]
        {
            assert_eq!(distance(from, to), letters, "{from} {to}");
            assert_eq!(distance(to, from), letters, "{to} {from}");
        }
    }
}
