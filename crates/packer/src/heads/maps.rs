//! The maps between the vocabulary of an EAGLE-3 head and that of its target.
//!
//! `d2t` has an offset for each token of the head: `target = token + d2t[token]`. `t2d` says for each token of the target
//! whether the head has it.

use std::collections::HashMap;

use longshore_st_format::Dtype;

use super::error::HeadError;

/// Names of the maps.
pub(crate) const D2T: &str = "d2t";
pub(crate) const T2D: &str = "t2d";

/// A map as a file has it: its type and its bytes.
pub(crate) type Map<'m> = (Dtype, &'m [u8]);

/// Checks the maps of a head. `vocabulary` is the number of the target's tokens, as far as it is known.
pub(crate) fn check(d2t: Map<'_>, t2d: Option<Map<'_>>, vocabulary: Option<u64>) -> Result<(), HeadError> {
    let offsets = integers(d2t).ok_or_else(|| of_type(D2T, d2t, "I64 or I32"))?;
    let targets = targets(&offsets, vocabulary)?;
    let Some(t2d) = t2d else { return Ok(()) };
    let marks = integers(t2d).or_else(|| marks(t2d)).ok_or_else(|| of_type(T2D, t2d, "BOOL, U8, I64 or I32"))?;
    agree(&targets, &marks)
}

/// The tokens of the target that the head's tokens stand for: all different, and in the vocabulary.
fn targets(offsets: &[i64], vocabulary: Option<u64>) -> Result<Vec<usize>, HeadError> {
    let fail = |problem: String| Err(HeadError::Map { tensor: D2T, problem });
    let mut taken = HashMap::with_capacity(offsets.len());
    let mut targets = Vec::with_capacity(offsets.len());
    for (token, offset) in offsets.iter().enumerate() {
        let target = i64::try_from(token).ok().and_then(|token| token.checked_add(*offset));
        let found = target.and_then(|target| usize::try_from(target).ok());
        let found = found.filter(|found| vocabulary.is_none_or(|vocabulary| (*found as u64) < vocabulary));
        let Some(found) = found else {
            let of = vocabulary.map_or_else(String::new, |vocabulary| format!(", expected one of {vocabulary}"));
            return fail(format!("token {token} with the offset {offset} stands for no token of the target{of}"));
        };
        if let Some(other) = taken.insert(found, token) {
            return fail(format!("tokens {other} and {token} both stand for token {found} of the target"));
        }
        targets.push(found);
    }
    Ok(targets)
}

/// Checks that the tokens that `chosen` marks are those of `targets`.
fn agree(targets: &[usize], chosen: &[i64]) -> Result<(), HeadError> {
    let fail = |problem: String| Err(HeadError::Map { tensor: T2D, problem });
    let count = chosen.iter().filter(|chosen| **chosen != 0).count();
    if count != targets.len() {
        return fail(format!("it marks {count} tokens, expected the {} of d2t", targets.len()));
    }
    match targets.iter().find(|target| chosen.get(**target).is_none_or(|chosen| *chosen == 0)) {
        Some(target) => fail(format!("it does not mark token {target}, which d2t names")),
        None => Ok(()),
    }
}

/// The numbers of a map, if it has numbers of a type that the decoder reads.
fn integers((dtype, bytes): Map<'_>) -> Option<Vec<i64>> {
    match dtype {
        Dtype::I64 => Some(bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()),
        Dtype::I32 => Some(bytes.as_chunks().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect()),
        _ => None,
    }
}

/// The marks of a map, a byte for each.
fn marks((dtype, bytes): Map<'_>) -> Option<Vec<i64>> {
    matches!(dtype, Dtype::Bool | Dtype::U8).then(|| bytes.iter().map(|byte| i64::from(*byte)).collect())
}

fn of_type(tensor: &'static str, (found, _): Map<'_>, expected: &str) -> HeadError {
    HeadError::Map { tensor, problem: format!("it is {found}, expected {expected}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_lead_to_different_tokens_of_the_target() {
        assert_eq!(targets(&[0, 1, 3], Some(6)), Ok(vec![0, 2, 5]));
        let problem = |offsets: &[i64]| targets(offsets, Some(6)).expect_err("it is wrong").to_string();
        assert!(problem(&[0, 1, 4]).contains("token 2 with the offset 4"), "{}", problem(&[0, 1, 4]));
        assert!(problem(&[-1]).contains("stands for no token"), "{}", problem(&[-1]));
        assert!(problem(&[i64::MAX, i64::MAX]).contains("stands for no token"));
        assert!(problem(&[0, 1, 0]).contains("tokens 1 and 2 both stand for token 2"), "{}", problem(&[0, 1, 0]));
    }

    #[test]
    fn marks_are_those_of_the_offsets() {
        assert_eq!(agree(&[0, 2], &[1, 0, 1]), Ok(()));
        let problem = |chosen: &[i64]| agree(&[0, 2], chosen).expect_err("it is wrong").to_string();
        assert!(problem(&[1, 1, 1]).contains("marks 3 tokens"), "{}", problem(&[1, 1, 1]));
        assert!(problem(&[1, 1, 0]).contains("does not mark token 2"), "{}", problem(&[1, 1, 0]));
    }

    /// An offset of a byte would lead nowhere in a large vocabulary, and the decoder does not read it.
    #[test]
    fn offsets_are_integers_and_marks_may_be_bytes() {
        let (offsets, marks) = ([0_u8; 16], [1, 1, 0]);
        let found = |d2t, t2d| check(d2t, Some(t2d), Some(3));
        for t2d in [Dtype::Bool, Dtype::U8] {
            assert_eq!(found((Dtype::I64, &offsets), (t2d, &marks)), Ok(()));
        }
        for d2t in [Dtype::Bool, Dtype::U8, Dtype::F32] {
            let error = found((d2t, &[0, 0]), (Dtype::Bool, &marks)).expect_err("it is no offset").to_string();
            assert!(error.contains("\"d2t\"") && error.contains("expected I64 or I32"), "{error}");
        }
    }
}
