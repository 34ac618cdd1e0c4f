//! Rotary position embedding: frequencies, for each way of stretching a context.

use std::f64::consts::TAU;

use longshore_model::Rope;
use serde_json::Number;

use crate::error::LoadError;

/// Rotation of queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RopeSpec {
    /// Angle of each pair of elements, per position.
    pub(crate) frequencies: Vec<f64>,
    /// Factor of sines and cosines.
    pub(crate) scale: f32,
    /// Whether neighbouring elements are a pair, rather than elements half the rotated ones apart.
    pub(crate) interleaved: bool,
}

impl RopeSpec {
    /// Makes the rotation of `dims` elements without stretching.
    pub(crate) fn plain(theta: f64, dims: usize, interleaved: bool) -> Self {
        let frequencies = (0..dims / 2).map(|pair| theta.powf(-2.0 * pair as f64 / dims as f64)).collect();
        Self { frequencies, scale: 1.0, interleaved }
    }

    /// Makes the rotation that `rope` states for heads of `head_dim` elements and a context of `context` tokens; `is_long` chooses between
    /// two sets of frequencies. `factors` are
    /// divisors of the frequencies, as GGUF files have them.
    pub(crate) fn new(
        rope: &Rope,
        head_dim: usize,
        (context, is_long): (usize, bool),
        factors: Option<&[f32]>,
    ) -> Result<Self, LoadError> {
        let number = |number: &Option<Number>| number.as_ref().and_then(Number::as_f64);
        let theta = number(&rope.theta).unwrap_or(10_000.0);
        let dims = match (rope.dims, number(&rope.partial)) {
            (Some(dims), _) => usize::try_from(dims).unwrap_or(head_dim),
            (None, Some(part)) => (head_dim as f64 * part) as usize,
            (None, None) => head_dim,
        };
        if dims > head_dim || dims % 2 != 0 {
            return Err(LoadError::Unsupported {
                what: format!("a rotation of {dims} of a head's {head_dim} elements"),
            });
        }
        let mut made = Self::plain(theta, dims, rope.interleaved.unwrap_or(false));
        let factor = number(&rope.factor).unwrap_or(1.0);
        let original = rope.original_context.map_or(context as f64, |length| length as f64);
        match rope.kind.as_deref() {
            // Within the context, dynamic stretching is none.
            None | Some("default" | "dynamic" | "none" | "mrope") => {}
            Some("linear") => made.frequencies.iter_mut().for_each(|frequency| *frequency /= factor),
            Some("llama3") => {
                let low = number(&rope.low_freq_factor).unwrap_or(1.0);
                let high = number(&rope.high_freq_factor).unwrap_or(4.0);
                made.frequencies
                    .iter_mut()
                    .for_each(|frequency| *frequency = llama3(*frequency, factor, low, high, original));
            }
            Some("yarn") => made.yarn(rope, theta, factor, original),
            Some("longrope" | "su") => {
                let factors = if is_long { &rope.long_factor } else { &rope.short_factor };
                made.divide(factors.iter().filter_map(Number::as_f64), "longrope")?;
                let stretch = rope.factor.as_ref().map_or(context as f64 / original, |_| factor);
                let scale = if stretch <= 1.0 { 1.0 } else { (1.0 + stretch.ln() / original.ln()).sqrt() };
                made.scale = number(&rope.attention_factor).unwrap_or(scale) as f32;
            }
            Some(other) => return Err(LoadError::Unsupported { what: format!("a context stretched by {other:?}") }),
        }
        if let Some(factors) = factors {
            made.divide(factors.iter().map(|factor| f64::from(*factor)), "rope_freqs.weight")?;
        }
        Ok(made)
    }

    fn divide(&mut self, factors: impl Iterator<Item = f64>, what: &str) -> Result<(), LoadError> {
        let factors: Vec<f64> = factors.collect();
        if factors.len() != self.frequencies.len() {
            let (found, expected) = (factors.len(), self.frequencies.len());
            return Err(LoadError::Unsupported {
                what: format!("{found} divisors in {what} for {expected} frequencies"),
            });
        }
        self.frequencies.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= factor);
        Ok(())
    }

    /// Blends stretched and unstretched frequencies, as `yarn` does.
    fn yarn(&mut self, rope: &Rope, theta: f64, factor: f64, original: f64) {
        let number = |number: &Option<Number>| number.as_ref().and_then(Number::as_f64);
        let dims = 2.0 * self.frequencies.len() as f64;
        let bound = |rotations: f64| dims * (original / (rotations * TAU)).ln() / (2.0 * theta.ln());
        let mut low = bound(number(&rope.beta_fast).unwrap_or(32.0));
        let mut high = bound(number(&rope.beta_slow).unwrap_or(1.0));
        if rope.truncate != Some(false) {
            (low, high) = (low.floor(), high.ceil());
        }
        low = low.max(0.0);
        high = high.min(dims - 1.0);
        if high - low < 0.001 {
            high += 0.001;
        }
        for (pair, frequency) in self.frequencies.iter_mut().enumerate() {
            let stretched = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
            *frequency = *frequency / factor * stretched + *frequency * (1.0 - stretched);
        }
        let scale = match (number(&rope.mscale), number(&rope.mscale_all_dim)) {
            (Some(one), Some(all)) if one != 0.0 && all != 0.0 => magnitude(factor, one) / magnitude(factor, all),
            _ => magnitude(factor, 1.0),
        };
        self.scale = number(&rope.attention_factor).unwrap_or(scale) as f32;
    }
}

/// Factor of magnitudes of `yarn`.
pub(super) fn magnitude(factor: f64, weight: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 }
}

/// Frequency as Llama 3 stretches it: short waves stay, long ones are stretched, those between are blended.
fn llama3(frequency: f64, factor: f64, low: f64, high: f64, original: f64) -> f64 {
    let wave = TAU / frequency;
    if wave < original / high {
        frequency
    } else if wave > original / low {
        frequency / factor
    } else {
        let smooth = (original / wave - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}
