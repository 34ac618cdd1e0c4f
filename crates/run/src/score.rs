//! Scores of a row of logits: what is needed of it to compare predictions.

use crate::{
    decoder::math,
    wide::{Work, wide},
};

/// Elements whose exponentials are added up in `f32`. Sums of these are `f64`.
const CHUNK: usize = 1024;
const LANES: usize = 8;

/// A row of logits, summed up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Score {
    /// The largest logit, and its index. Of equal ones, the first counts.
    most: f32,
    likeliest: usize,
    /// Sum of the exponentials of all logits less the largest.
    sum: f64,
}

impl Score {
    /// Sums a row up.
    pub(crate) fn new(logits: &[f32]) -> Self {
        wide(Sums(logits))
    }

    /// Logarithm of the sum of the exponentials.
    fn log_sum(&self) -> f64 {
        f64::from(self.most) + self.sum.ln()
    }

    /// Negative logarithm of the probability of one of the row's tokens.
    pub(crate) fn nll(&self, logit: f32) -> f64 {
        self.log_sum() - f64::from(logit)
    }

    /// Whether both rows hold the same token for the likeliest.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        self.likeliest == other.likeliest
    }
}

/// A row of logits with its score.
pub(crate) type Row<'a> = (&'a [f32], Score);

/// Kullback-Leibler divergence of the predictions `found` from `expected`, in nats: Σ p ln(p / q).
pub(crate) fn divergence(expected: Row<'_>, found: Row<'_>) -> f64 {
    wide(Divergence { expected, found })
}

struct Sums<'a>(&'a [f32]);

impl Work for Sums<'_> {
    type Output = Score;

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "each set of instructions compiles its own")]
    fn run(self) -> Score {
        let most = math::most(self.0);
        let likeliest = self.0.iter().position(|logit| *logit >= most).unwrap_or(0);
        let (mut sum, mut powers) = (0.0, [0.0; CHUNK]);
        for logits in self.0.chunks(CHUNK) {
            let powers = &mut powers[..logits.len()];
            for (power, logit) in powers.iter_mut().zip(logits) {
                *power = math::exp(*logit - most);
            }
            sum += f64::from(math::sum(powers));
        }
        Score { most, likeliest, sum }
    }
}

struct Divergence<'a> {
    expected: Row<'a>,
    found: Row<'a>,
}

impl Work for Divergence<'_> {
    type Output = f64;

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "each set of instructions compiles its own")]
    fn run(self) -> f64 {
        let ((expected, score), (found, found_score)) = (self.expected, self.found);
        let shift = score.log_sum() - found_score.log_sum();
        let term = |expected: f32, found: f32| {
            f64::from(math::exp(expected - score.most)) * (f64::from(expected) - f64::from(found) - shift)
        };
        let (pieces, rest) = expected.as_chunks::<LANES>();
        let (found_pieces, found_rest) = found.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for (expected, found) in pieces.iter().zip(found_pieces) {
            for lane in 0..LANES {
                lanes[lane] += term(expected[lane], found[lane]);
            }
        }
        let rest: f64 = rest.iter().zip(found_rest).map(|(expected, found)| term(*expected, *found)).sum();
        (lanes.iter().sum::<f64>() + rest) / score.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_divergence_is_that_of_the_definition() {
        // More than a piece and a chunk, and a rest.
        let weights = |step: f64| -> Vec<f64> {
            let weights: Vec<f64> = (0..1029).map(|at| 1.5 + (f64::from(at) * step).sin()).collect();
            let sum: f64 = weights.iter().sum();
            weights.iter().map(|weight| weight / sum).collect()
        };
        let (p, q) = (weights(0.3), weights(0.7));
        let logits = |p: &[f64]| -> Vec<f32> { p.iter().map(|p| p.ln() as f32 + 3.0).collect() };
        let expected: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
        let (one, other) = (logits(&p), logits(&q));
        let (score, other_score) = (Score::new(&one), Score::new(&other));
        assert!((divergence((&one, score), (&other, other_score)) - expected).abs() < 1e-6);
        assert!(divergence((&one, score), (&one, score)).abs() < 1e-7);
        assert!((score.nll(one[1028]) + p[1028].ln()).abs() < 1e-6);
    }

    #[test]
    fn of_equal_logits_the_first_is_the_likeliest() {
        let score = |logits: &[f32]| Score::new(logits);
        assert_eq!(score(&[1.0, 3.0, 3.0]).likeliest, 1);
        assert!(score(&[0.0, 3.0, 1.0]).agrees(&score(&[1.0, 2.0, 2.0])));
        assert!(!score(&[0.0, 3.0, 1.0]).agrees(&score(&[2.0, 2.0, 2.0])));
    }
}
