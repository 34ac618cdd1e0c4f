//! Rotary position embedding.

use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::unknown::is_default;

/// Rotary position embedding: how positions become rotations of queries and keys. Numbers are those of `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rope {
    /// Base of the frequencies.
    #[serde(skip_serializing_if = "is_default")]
    pub theta: Option<Number>,
    /// Base of the frequencies in layers of local attention, where it differs.
    #[serde(skip_serializing_if = "is_default")]
    pub local_theta: Option<Number>,
    /// Method that stretches the context: `linear`, `dynamic`, `yarn`, `llama3`, `longrope` or another. `None` if the context is
    /// not stretched.
    #[serde(skip_serializing_if = "is_default")]
    pub kind: Option<String>,
    /// Factor by which the context is stretched.
    #[serde(skip_serializing_if = "is_default")]
    pub factor: Option<Number>,
    /// Length of the context before stretching, in tokens.
    #[serde(skip_serializing_if = "is_default")]
    pub original_context: Option<u64>,
    /// Part of a head's elements that is rotated. `None` stands for all of them.
    #[serde(skip_serializing_if = "is_default")]
    pub partial: Option<Number>,
    /// Number of a head's elements that are rotated, where it is stated as a number.
    #[serde(skip_serializing_if = "is_default")]
    pub dims: Option<u64>,
    /// Whether neighbouring elements are rotated together, rather than elements half a head apart.
    #[serde(skip_serializing_if = "is_default")]
    pub interleaved: Option<bool>,
    /// `llama3`: the context before stretching over the longest wavelength that is blended.
    #[serde(skip_serializing_if = "is_default")]
    pub low_freq_factor: Option<Number>,
    /// `llama3`: the context before stretching over the shortest wavelength that is blended.
    #[serde(skip_serializing_if = "is_default")]
    pub high_freq_factor: Option<Number>,
    /// `yarn`: rotations within the context before stretching above which a frequency is kept.
    #[serde(skip_serializing_if = "is_default")]
    pub beta_fast: Option<Number>,
    /// `yarn`: rotations within the context before stretching below which a frequency is stretched in full.
    #[serde(skip_serializing_if = "is_default")]
    pub beta_slow: Option<Number>,
    /// `yarn`: whether the bounds of the blend are rounded to whole dimensions.
    #[serde(skip_serializing_if = "is_default")]
    pub truncate: Option<bool>,
    /// `yarn` and `longrope`: factor of sines and cosines.
    #[serde(skip_serializing_if = "is_default")]
    pub attention_factor: Option<Number>,
    /// `yarn`: weight of the factor of sines and cosines.
    #[serde(skip_serializing_if = "is_default")]
    pub mscale: Option<Number>,
    /// `yarn`: weight of the factor by which the first is divided, and of the factor of the attention's scale.
    #[serde(skip_serializing_if = "is_default")]
    pub mscale_all_dim: Option<Number>,
    /// `longrope`: divisor of each frequency within the context before stretching.
    #[serde(skip_serializing_if = "is_default")]
    pub short_factor: Vec<Number>,
    /// `longrope`: divisor of each frequency beyond it.
    #[serde(skip_serializing_if = "is_default")]
    pub long_factor: Vec<Number>,
    /// Numbers of frequencies that turn with the time, height and width of a picture's patch.
    #[serde(skip_serializing_if = "is_default")]
    pub sections: Vec<u64>,
}
