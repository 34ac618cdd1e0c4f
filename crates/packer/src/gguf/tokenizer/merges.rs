//! The merges of a `SentencePiece` vocabulary, which a GGUF file does not have.

use std::{cmp::Reverse, collections::HashMap};

/// Every way to make a token of two others, in the order in which they are tried: the token with the highest score
/// first, of one score the pair whose left half is longest, then the one whose right half is.
///
/// `SentencePiece` looks scores of tokens up, and of equal ones takes the leftmost pair of the text; the order does
/// likewise where runs of one character have equal scores.
pub(super) fn of_scores<'v>(tokens: &'v [String], scores: &[f32]) -> Vec<(&'v str, &'v str)> {
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let mut merges = Vec::with_capacity(tokens.len() * 2);
    for (id, token) in tokens.iter().enumerate() {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(first), Some(second)) = (ids.get(left), ids.get(right)) {
                merges.push((Key::new(scores[id], left, right), (id, *first, *second), (left, right)));
            }
        }
    }
    merges.sort_unstable_by_key(|(key, ids, _)| (*key, *ids));
    merges.into_iter().map(|(_, _, pair)| pair).collect()
}

/// Key that orders merges, ascending.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    score: Reverse<i32>,
    left: Reverse<usize>,
    right: Reverse<usize>,
}

impl Key {
    fn new(score: f32, left: &str, right: &str) -> Self {
        // Bits that are ordered as the numbers are; the two zeros are one number.
        let bits = (score + 0.0).to_bits().cast_signed();
        let ordered = bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed();
        Self { score: Reverse(ordered), left: Reverse(left.chars().count()), right: Reverse(right.chars().count()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_are_ordered_by_the_score_of_what_they_make() {
        let tokens: Vec<String> = ["a", "b", "c", "ab", "bc", "abc", "é", "aé"].map(str::to_owned).to_vec();
        let scores = [-9.0, -9.0, -9.0, -2.0, -1.0, -3.0, -9.0, 0.5];
        assert_eq!(of_scores(&tokens, &scores), [("a", "é"), ("b", "c"), ("a", "b"), ("ab", "c"), ("a", "bc")]);
    }

    #[test]
    fn of_equal_scores_the_longest_left_half_comes_first() {
        let tokens: Vec<String> = (1..=4).map(|count| "_".repeat(count)).collect();
        let found = of_scores(&tokens, &[0.0, -0.0, 0.0, 0.0]);
        assert_eq!(found, [("___", "_"), ("__", "__"), ("__", "_"), ("_", "___"), ("_", "__"), ("_", "_")]);
    }
}
