//! The first line of a trace.

use serde::{Deserialize, Serialize};

use super::{error::TraceError, limits::TraceLimits};

/// Version of the form that this release reads and writes.
pub(super) const VERSION: u64 = 1;

/// The first line of a trace: the router's layers, and how it chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceHeader {
    layers: Box<[u32]>,
    experts: u32,
    top_k: u32,
}

/// The line as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    version: u64,
    layers: Vec<u32>,
    experts: u32,
    top_k: u32,
}

impl TraceHeader {
    /// Makes the header of traces of a model whose decoder layers `layers` choose `top_k` of `experts` experts for each token.
    ///
    /// # Errors
    ///
    /// [`TraceError::Header`] if the layers are not in ascending order, or if `top_k` is 0 or more than `experts`.
    pub fn new(layers: impl Into<Box<[u32]>>, experts: u32, top_k: u32) -> Result<Self, TraceError> {
        let layers = layers.into();
        if layers.is_empty() {
            return Err(TraceError::Header { found: "no layers".into(), expected: "one or more" });
        }
        if let Some((before, after)) = layers.iter().zip(&layers[1..]).find(|(before, after)| before >= after) {
            let found = format!("layer {before} before layer {after}");
            return Err(TraceError::Header { found, expected: "layers in ascending order" });
        }
        if top_k == 0 || top_k > experts {
            let found = format!("{top_k} of {experts} experts for each token");
            return Err(TraceError::Header { found, expected: "one or more, and no more than there are" });
        }
        Ok(Self { layers, experts, top_k })
    }

    /// Returns the decoder's layers that choose experts, in ascending order.
    #[must_use]
    pub fn layers(&self) -> &[u32] {
        &self.layers
    }

    /// Returns the number of experts in each of these layers.
    #[must_use]
    pub fn experts(&self) -> u32 {
        self.experts
    }

    /// Returns the number of experts that a token chooses in each layer.
    #[must_use]
    pub fn top_k(&self) -> u32 {
        self.top_k
    }

    /// Returns the number of choices of a token in all layers.
    #[must_use]
    pub fn choices(&self) -> usize {
        self.layers.len() * self.top_k as usize
    }

    pub(super) fn parse(line: &[u8], limits: &TraceLimits) -> Result<Self, TraceError> {
        let form = "{\"version\":1,\"layers\":[…],\"experts\":E,\"top_k\":K}";
        let found: Line = serde_json::from_slice(line).map_err(|error| TraceError::Line {
            line: 1,
            expected: form,
            problem: error.to_string(),
        })?;
        if found.version != VERSION {
            return Err(TraceError::Version { found: found.version, expected: VERSION });
        }
        if found.layers.len() > limits.layers {
            return Err(TraceError::Limit { line: 1, what: "layers", limit: limits.layers as u64 });
        }
        if found.experts > limits.experts {
            return Err(TraceError::Limit { line: 1, what: "experts in a layer", limit: u64::from(limits.experts) });
        }
        Self::new(found.layers, found.experts, found.top_k)
    }

    pub(super) fn line(&self) -> Line {
        let Self { layers, experts, top_k } = self;
        Line { version: VERSION, layers: layers.to_vec(), experts: *experts, top_k: *top_k }
    }
}
