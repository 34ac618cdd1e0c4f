//! Encoders of pictures and of sound.

use serde::{Deserialize, Serialize};

use super::unknown::is_default;

/// Encoder of pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vision {
    /// Family of the encoder.
    #[serde(skip_serializing_if = "is_default")]
    pub model_type: Option<String>,
    /// Number of layers.
    #[serde(skip_serializing_if = "is_default")]
    pub layers: Option<u64>,
    /// Elements of the residual stream.
    #[serde(skip_serializing_if = "is_default")]
    pub hidden_size: Option<u64>,
    /// Elements between the two projections of a feed-forward block.
    #[serde(skip_serializing_if = "is_default")]
    pub intermediate_size: Option<u64>,
    /// Number of heads per layer.
    #[serde(skip_serializing_if = "is_default")]
    pub heads: Option<u64>,
    /// Height and width of a picture, in pixels.
    #[serde(skip_serializing_if = "is_default")]
    pub image_size: Option<u64>,
    /// Height and width of a patch, in pixels.
    #[serde(skip_serializing_if = "is_default")]
    pub patch_size: Option<u64>,
    /// Number of colours.
    #[serde(skip_serializing_if = "is_default")]
    pub channels: Option<u64>,
    /// Patches in a row that become one token.
    #[serde(skip_serializing_if = "is_default")]
    pub merge: Option<u64>,
    /// Pictures of a film that become one patch.
    #[serde(skip_serializing_if = "is_default")]
    pub temporal_patch_size: Option<u64>,
    /// Elements of a token that the encoder gives to the language model.
    #[serde(skip_serializing_if = "is_default")]
    pub output_size: Option<u64>,
    /// Number of tokens of a picture, where it is fixed.
    #[serde(skip_serializing_if = "is_default")]
    pub tokens_per_image: Option<u64>,
    /// Token in whose place a picture stands.
    #[serde(skip_serializing_if = "is_default")]
    pub token: Option<u64>,
}

/// Encoder of sound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Audio {
    /// Family of the encoder.
    #[serde(skip_serializing_if = "is_default")]
    pub model_type: Option<String>,
    /// Number of layers.
    #[serde(skip_serializing_if = "is_default")]
    pub layers: Option<u64>,
    /// Elements of the residual stream.
    #[serde(skip_serializing_if = "is_default")]
    pub hidden_size: Option<u64>,
    /// Elements between the two projections of a feed-forward block.
    #[serde(skip_serializing_if = "is_default")]
    pub intermediate_size: Option<u64>,
    /// Number of heads per layer.
    #[serde(skip_serializing_if = "is_default")]
    pub heads: Option<u64>,
    /// Number of frequency bands.
    #[serde(skip_serializing_if = "is_default")]
    pub mel_bins: Option<u64>,
    /// Elements of a token that the encoder gives to the language model.
    #[serde(skip_serializing_if = "is_default")]
    pub output_size: Option<u64>,
    /// Token in whose place sound stands.
    #[serde(skip_serializing_if = "is_default")]
    pub token: Option<u64>,
}
