//! Options of sampling, and its errors.

use longshore_manifest::weights::Source;
use serde_json::{Map, Value};

use crate::text::documents::{DocumentError, object};

/// Options of sampling. Later versions may add fields: `..Default::default()` fills them in. The default is greedy.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerOptions {
    /// Divisor of the logits: 0 chooses the most likely token, 1 draws by the model's own probabilities.
    pub temperature: f32,
    /// Number of the most likely tokens that are drawn from; 0 is all.
    pub top_k: usize,
    /// Least sum of the probabilities of the tokens that are drawn from, from the most likely on: above 0, at most 1.
    pub top_p: f32,
    /// Least probability of a token that is drawn, as a share of that of the most likely one: 0 to 1.
    pub min_p: f32,
    /// Factor by which tokens that are in the text already become less likely; 1 leaves them as they are.
    pub repetition_penalty: f32,
    /// Number that the draws depend on.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

impl SamplerOptions {
    /// Reads the options that a model recommends in its `generation_config.json`. A model that recommends no sampling, or has no such
    /// file, is greedy. Numbers out of range are left at their defaults.
    ///
    /// # Errors
    ///
    /// [`DocumentError`] for a file that cannot be read or is not a JSON object.
    pub fn recommended(source: &Source) -> Result<Self, DocumentError> {
        Ok(object(source, "generation_config.json")?.map(|config| Self::of_config(&config)).unwrap_or_default())
    }

    fn of_config(config: &Map<String, Value>) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the numbers are small, and checked below")]
        let number = |name: &str| config.get(name).and_then(Value::as_f64).map(|number| number as f32);
        let default = Self::default();
        let mut options = Self {
            repetition_penalty: number("repetition_penalty").unwrap_or(default.repetition_penalty),
            ..default.clone()
        };
        if config.get("do_sample").and_then(Value::as_bool) == Some(true) {
            options.temperature = number("temperature").unwrap_or(1.0);
            // The default of transformers.
            options.top_k =
                config.get("top_k").map_or(Some(50), Value::as_u64).and_then(|k| usize::try_from(k).ok()).unwrap_or(0);
            options.top_p = number("top_p").unwrap_or(default.top_p);
            options.min_p = number("min_p").unwrap_or(default.min_p);
        }
        if options.check().is_ok() { options } else { default }
    }

    pub(super) fn check(&self) -> Result<(), SamplerError> {
        let unit = |number: f32| (0.0..=1.0).contains(&number);
        let checks = [
            ("temperature", self.temperature, "a number from 0", (0.0..f32::INFINITY).contains(&self.temperature)),
            ("temperature", self.temperature, "0, or a number from 1.2e-38", !self.temperature.is_subnormal()),
            ("top-p", self.top_p, "a number above 0, at most 1", unit(self.top_p) && self.top_p > 0.0),
            ("min-p", self.min_p, "a number from 0 to 1", unit(self.min_p)),
            (
                "repetition penalty",
                self.repetition_penalty,
                "a number above 0",
                self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite(),
            ),
            (
                "repetition penalty",
                self.repetition_penalty,
                "a number from 1.2e-38",
                !self.repetition_penalty.is_subnormal(),
            ),
        ];
        match checks.into_iter().find(|(.., is_met)| !is_met) {
            Some((option, found, expected, _)) => Err(SamplerError::Option { option, expected, found }),
            None => Ok(()),
        }
    }

    #[expect(clippy::float_cmp, reason = "1 leaves logits as they are, to the bit")]
    pub(super) fn penalizes(&self) -> bool {
        self.repetition_penalty != 1.0
    }

    pub(super) fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Whether the token of the largest logit is chosen each time.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.is_greedy() && !self.penalizes()
    }
}

/// Reason why no token can be chosen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// An option is out of its range.
    #[error("{option}: expected {expected}, found {found}")]
    Option {
        /// The option.
        option: &'static str,
        /// Numbers that it takes.
        expected: &'static str,
        /// Its number.
        found: f32,
    },
    /// A logit is NaN or a positive infinity.
    #[error("the logit of token {token} is {found}: expected a finite number")]
    NotANumber {
        /// The first such token.
        token: usize,
        /// Its logit.
        found: f32,
    },
    /// There is no token to choose: there are no logits, or all are negative infinities.
    #[error("no token can be chosen: every logit is minus infinity")]
    NoCandidate,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(config: &Value) -> SamplerOptions {
        SamplerOptions::of_config(config.as_object().expect("it is an object"))
    }

    #[test]
    fn a_model_recommends_its_sampling() {
        let found = of(&serde_json::json!({"do_sample": true, "temperature": 0.6, "top_p": 0.95, "top_k": 20}));
        assert_eq!(found, SamplerOptions { temperature: 0.6, top_p: 0.95, top_k: 20, ..Default::default() });
        assert_eq!(of(&serde_json::json!({"do_sample": true})).top_k, 50);
    }

    #[test]
    fn without_sampling_it_is_greedy_and_nonsense_is_ignored() {
        assert_eq!(of(&serde_json::json!({"temperature": 0.6})), SamplerOptions::default());
        assert_eq!(of(&serde_json::json!({"do_sample": true, "top_p": 7})), SamplerOptions::default());
        assert_eq!(of(&serde_json::json!({"do_sample": "yes"})), SamplerOptions::default());
    }
}
