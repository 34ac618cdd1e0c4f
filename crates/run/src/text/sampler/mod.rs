//! Sampling: the next token from a model's logits.

mod options;
mod random;
mod shape;

use std::collections::BTreeSet;

pub use options::{SamplerError, SamplerOptions};
use shape::Candidate;

/// Chooses tokens from logits. The same options, tokens and logits give the same tokens on any machine and at any number of threads.
///
/// The steps are those of transformers, in its order: repetition penalty, temperature, top-k, top-p, min-p. With a temperature of 0
/// the most likely token is chosen, the first of equals.
///
/// ```
/// use longshore_run::text::{Sampler, SamplerOptions};
///
/// let mut sampler = Sampler::new(SamplerOptions { temperature: 0.8, top_k: 2, seed: 7, ..Default::default() })?;
/// let token = sampler.sample(&[0.1, 2.5, -1.0, 2.4])?;
/// assert!([1, 3].contains(&token));
/// # Ok::<(), longshore_run::text::SamplerError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sampler {
    options: SamplerOptions,
    /// Tokens of the prompt and of the answer, which the repetition penalty makes less likely.
    seen: BTreeSet<u32>,
    /// Number of tokens that were drawn.
    drawn: u64,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// Makes a sampler.
    ///
    /// # Errors
    ///
    /// [`SamplerError::Option`] for a number that is out of its range.
    pub fn new(options: SamplerOptions) -> Result<Self, SamplerError> {
        options.check()?;
        Ok(Self { options, seen: BTreeSet::new(), drawn: 0, candidates: Vec::new() })
    }

    /// Returns the options.
    #[must_use]
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Notes tokens that are there already, such as the prompt's, for the repetition penalty.
    pub fn accept(&mut self, tokens: &[u32]) {
        if self.options.penalizes() {
            self.seen.extend(tokens);
        }
    }

    /// Chooses a token and notes it. The index of a logit is the id of its token.
    ///
    /// # Errors
    ///
    /// [`SamplerError::NotANumber`] for logits with a NaN or a positive infinity, [`SamplerError::NoCandidate`] for logits that are
    /// empty or all negative infinities.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, SamplerError> {
        shape::check(logits)?;
        let token = if self.options.is_greedy() {
            shape::most_likely(logits, |token| self.penalized(token, logits)).ok_or(SamplerError::NoCandidate)?
        } else {
            self.draw(logits)?
        };
        self.accept(&[token]);
        Ok(token)
    }

    fn draw(&mut self, logits: &[f32]) -> Result<u32, SamplerError> {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        let tokens = 0..u32::try_from(logits.len()).unwrap_or(u32::MAX);
        let most = tokens.clone().map(|token| self.penalized(token, logits)).fold(f32::NEG_INFINITY, f32::max);
        candidates.extend(tokens.filter_map(|token| {
            // The largest becomes 0, which no temperature makes infinite.
            let logit = (self.penalized(token, logits) - most) / self.options.temperature;
            (logit > f32::NEG_INFINITY).then_some(Candidate { token, logit })
        }));
        let point = random::unit(self.options.seed, self.drawn);
        let token = shape::choose(&mut candidates, &self.options, point);
        self.candidates = candidates;
        let token = token.ok_or(SamplerError::NoCandidate)?;
        self.drawn += 1;
        Ok(token)
    }

    /// A logit with the repetition penalty: what was seen is divided by it if it is likely, and multiplied if not.
    fn penalized(&self, token: u32, logits: &[f32]) -> f32 {
        let logit = logits[token as usize];
        let penalty = self.options.repetition_penalty;
        if !self.seen.contains(&token) {
            return logit;
        }
        if logit > 0.0 { (logit / penalty).min(f32::MAX) } else { logit * penalty }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(options: SamplerOptions) -> Sampler {
        Sampler::new(options).expect("the options are in range")
    }

    /// Counts how often each of the tokens is drawn, in 20,000 draws with fresh seeds.
    fn shares(options: &SamplerOptions, logits: &[f32]) -> Vec<f64> {
        let mut counts = vec![0_u32; logits.len()];
        for seed in 0..20_000 {
            let token = sampler(SamplerOptions { seed, ..options.clone() }).sample(logits).expect("they are numbers");
            counts[token as usize] += 1;
        }
        counts.into_iter().map(|count| f64::from(count) / 20_000.0).collect()
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        let near = |(found, expected): (&f64, &f64)| (found - expected).abs() < 0.015;
        assert!(found.iter().zip(expected).all(near), "{found:?}, expected {expected:?}");
    }

    const HOT: SamplerOptions =
        SamplerOptions { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 };

    #[test]
    fn greedy_takes_the_most_likely_token_and_the_first_of_equals() {
        let mut greedy = sampler(SamplerOptions::default());
        assert_eq!(greedy.sample(&[0.0, 3.0, 3.0, 1.0]).ok(), Some(1));
        assert_eq!(greedy.sample(&[f32::NEG_INFINITY, -5.0]).ok(), Some(1));
    }

    #[test]
    fn shares_of_draws_are_the_probabilities() {
        let logits = [0.5_f32.ln(), 0.25_f32.ln(), 0.15_f32.ln(), 0.1_f32.ln()];
        assert_near(&shares(&HOT, &logits), &[0.5, 0.25, 0.15, 0.1]);
        assert_near(&shares(&SamplerOptions { top_k: 2, ..HOT }, &logits), &[2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]);
        // 0.5 + 0.25 is less than 0.8, so that the third is the last of the nucleus.
        let third = 0.9;
        assert_near(
            &shares(&SamplerOptions { top_p: 0.8, ..HOT }, &logits),
            &[0.5 / third, 0.25 / third, 0.15 / third, 0.0],
        );
        assert_near(&shares(&SamplerOptions { min_p: 0.4, ..HOT }, &logits), &[2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]);
        let sum = 0.25 + 0.0625 + 0.0225 + 0.01;
        assert_near(
            &shares(&SamplerOptions { temperature: 0.5, ..HOT }, &logits),
            &[0.25 / sum, 0.0625 / sum, 0.0225 / sum, 0.01 / sum],
        );
    }

    #[test]
    fn the_smallest_numbers_leave_the_most_likely_token() {
        let least = f32::MIN_POSITIVE;
        for top_p in [1.0, 0.5] {
            let mut cold = sampler(SamplerOptions { temperature: least, top_p, ..HOT });
            assert_eq!(cold.sample(&[1.0, 30.0, -4.0, 2.0]).ok(), Some(1));
        }
        let mut pushed = sampler(SamplerOptions { repetition_penalty: least, ..HOT });
        pushed.accept(&[0]);
        assert_eq!(pushed.sample(&[20.0, 30.0, -4.0, 2.0]).ok(), Some(0));
    }

    #[test]
    fn what_was_seen_is_less_likely() {
        let mut greedy = sampler(SamplerOptions { repetition_penalty: 2.0, ..Default::default() });
        greedy.accept(&[1]);
        assert_eq!(greedy.sample(&[1.0, 1.9, -1.0]).ok(), Some(0));
        // Both are seen now, and a negative logit becomes more so.
        assert_eq!(greedy.sample(&[-1.0, -1.0, -1.5]).ok(), Some(2));
    }

    #[test]
    fn a_seed_repeats_its_tokens_and_another_gives_others() {
        let logits: Vec<f32> = (0..50_u16).map(|token| f32::from(token % 7) * 0.3).collect();
        let draw = |seed| {
            let mut sampler = sampler(SamplerOptions { seed, ..HOT });
            (0..20).map(|_| sampler.sample(&logits).expect("they are numbers")).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for options in [SamplerOptions::default(), HOT] {
            let mut sampler = sampler(options);
            for bad in [f32::NAN, f32::INFINITY] {
                let error = sampler.sample(&[0.0, bad]).expect_err("it is no number");
                assert!(matches!(error, SamplerError::NotANumber { token: 1, .. }), "{error}");
            }
            assert!(matches!(sampler.sample(&[]), Err(SamplerError::NoCandidate)));
            let none = sampler.sample(&[f32::NEG_INFINITY; 3]);
            assert!(matches!(none, Err(SamplerError::NoCandidate)), "{none:?}");
        }
    }

    #[test]
    fn options_out_of_range_are_named() {
        for (options, name) in [
            (SamplerOptions { temperature: -1.0, ..HOT }, "temperature"),
            (SamplerOptions { temperature: f32::NAN, ..HOT }, "temperature"),
            (SamplerOptions { top_p: 0.0, ..HOT }, "top-p"),
            (SamplerOptions { top_p: 1.5, ..HOT }, "top-p"),
            (SamplerOptions { min_p: 1.1, ..HOT }, "min-p"),
            (SamplerOptions { repetition_penalty: 0.0, ..HOT }, "repetition penalty"),
            (SamplerOptions { temperature: f32::MIN_POSITIVE / 2.0, ..HOT }, "temperature: expected 0, or"),
            (SamplerOptions { repetition_penalty: f32::MIN_POSITIVE / 2.0, ..HOT }, "repetition penalty"),
        ] {
            let error = Sampler::new(options).expect_err("it is out of range");
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }
}
