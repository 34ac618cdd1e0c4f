//! Routing: the choice of a token's experts.

use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::unknown::is_default;

/// Routing: the choice of a token's experts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Router {
    /// Function that makes scores of the router's logits: `softmax` or `sigmoid`.
    #[serde(skip_serializing_if = "is_default")]
    pub scoring: Option<String>,
    /// Whether the scores of the chosen experts are divided by their sum.
    #[serde(skip_serializing_if = "is_default")]
    pub normalises: Option<bool>,
    /// Number of groups into which the experts are divided.
    #[serde(skip_serializing_if = "is_default")]
    pub groups: Option<u64>,
    /// Number of groups whose experts one token may use.
    #[serde(skip_serializing_if = "is_default")]
    pub groups_per_token: Option<u64>,
    /// Method that chooses the experts, such as `noaux_tc`.
    #[serde(skip_serializing_if = "is_default")]
    pub method: Option<String>,
    /// Factor of the experts' sum.
    #[serde(skip_serializing_if = "is_default")]
    pub scaling: Option<Number>,
    /// Elements between the two projections of the shared experts together.
    #[serde(skip_serializing_if = "is_default")]
    pub shared_intermediate_size: Option<u64>,
    /// A layer has experts if its number, counted from one, is a multiple of this.
    #[serde(skip_serializing_if = "is_default")]
    pub every: Option<u64>,
    /// Elements to which a token is compressed for the experts.
    #[serde(skip_serializing_if = "is_default")]
    pub latent_size: Option<u64>,
}
