//! The shape of a distribution: what top-k, top-p and min-p leave, and a draw from it.

use std::cmp::Ordering;

use super::options::{SamplerError, SamplerOptions};

/// A token that may be drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) token: u32,
    pub(super) logit: f32,
}

/// Refuses logits from which no probability can be made.
pub(super) fn check(logits: &[f32]) -> Result<(), SamplerError> {
    let is_bad = |logit: &f32| logit.is_nan() || *logit == f32::INFINITY;
    match logits.iter().position(is_bad) {
        Some(token) => Err(SamplerError::NotANumber { token, found: logits[token] }),
        None => Ok(()),
    }
}

/// The token of the largest logit, the first of equals.
pub(super) fn most_likely(logits: &[f32], logit: impl Fn(u32) -> f32) -> Option<u32> {
    let tokens = 0..u32::try_from(logits.len()).unwrap_or(u32::MAX);
    let scored = tokens.map(|token| (token, logit(token))).filter(|(_, logit)| *logit > f32::NEG_INFINITY);
    scored
        .fold(None, |best, (token, logit)| match best {
            Some((_, most)) if most >= logit => best,
            _ => Some((token, logit)),
        })
        .map(|(token, _)| token)
}

/// Draws one of the candidates: the one in whose share of the sum of probabilities `point`, of 0 to 1, lies.
pub(super) fn choose(candidates: &mut Vec<Candidate>, options: &SamplerOptions, point: f64) -> Option<u32> {
    if options.top_k > 0 && options.top_k < candidates.len() {
        candidates.select_nth_unstable_by(options.top_k - 1, likelier);
        candidates.truncate(options.top_k);
    }
    let most = candidates.iter().map(|candidate| candidate.logit).fold(f32::NEG_INFINITY, f32::max);
    if options.top_p < 1.0 {
        keep_nucleus(candidates, most, f64::from(options.top_p));
    }
    if options.min_p > 0.0 {
        candidates.retain(|candidate| weight(*candidate, most) >= f64::from(options.min_p));
    }
    // The draw depends on the order: by id, or by likelihood where a selection has shuffled them.
    if options.top_k > 0 {
        candidates.sort_unstable_by(likelier);
    }
    let mut left = point * candidates.iter().map(|candidate| weight(*candidate, most)).sum::<f64>();
    for candidate in candidates.iter() {
        left -= weight(*candidate, most);
        if left < 0.0 {
            return Some(candidate.token);
        }
    }
    // Rounding may leave a rest.
    candidates.last().map(|candidate| candidate.token)
}

/// Keeps the most likely candidates whose probabilities sum to `share` or more, as few as will do.
fn keep_nucleus(candidates: &mut Vec<Candidate>, most: f32, share: f64) {
    let wanted = share * candidates.iter().map(|candidate| weight(*candidate, most)).sum::<f64>();
    // Few tokens nearly always hold the share, so that sorting all of a large vocabulary is seldom needed.
    let mut sorted = 0;
    let mut sum = 0.0;
    let mut next = 256;
    while sorted < candidates.len() {
        let end = next.min(candidates.len());
        let rest = &mut candidates[sorted..];
        if end - sorted < rest.len() {
            rest.select_nth_unstable_by(end - sorted - 1, likelier);
        }
        candidates[sorted..end].sort_unstable_by(likelier);
        for at in sorted..end {
            sum += weight(candidates[at], most);
            if sum >= wanted {
                candidates.truncate(at + 1);
                return;
            }
        }
        sorted = end;
        next = end * 4;
    }
}

/// A probability, as a multiple of that of the most likely candidate.
fn weight(candidate: Candidate, most: f32) -> f64 {
    (f64::from(candidate.logit) - f64::from(most)).exp()
}

/// Order of likelihood, equals by their ids.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is that of a comparison")]
fn likelier(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nucleus_beyond_the_first_candidates_is_found() {
        let even = |count| (0..count).map(|token| Candidate { token, logit: 0.0 }).collect::<Vec<_>>();
        for (count, share, kept) in [(10_000, 0.5, 5000), (100, 0.25, 25), (300, 1.0, 300), (2000, 0.001, 2)] {
            let mut candidates = even(count);
            keep_nucleus(&mut candidates, 0.0, share);
            assert_eq!(candidates.len(), kept, "{share} of {count}");
            assert!(candidates.iter().zip(0..).all(|(candidate, token)| candidate.token == token));
        }
    }

    #[test]
    fn a_draw_depends_on_its_point_alone() {
        let candidates = || vec![Candidate { token: 5, logit: 0.0 }, Candidate { token: 2, logit: 0.0 }];
        let options = SamplerOptions { temperature: 1.0, top_k: 2, ..Default::default() };
        for (point, token) in [(0.0, 2), (0.49, 2), (0.51, 5), (0.999, 5)] {
            assert_eq!(choose(&mut candidates(), &options, point), Some(token), "{point}");
        }
        assert_eq!(choose(&mut Vec::new(), &options, 0.5), None);
    }
}
