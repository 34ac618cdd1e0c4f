//! A source whose residual stream an import rotates.

use std::sync::Arc;

use longshore_model::{MAX_CONFIG_BYTES, ModelConfig};
use longshore_transform::rotation::Rotation;
use serde_json::{Map, Value};

use super::{
    checkpoint::Source,
    classify::Kind,
    companions::{Companion, CompanionKind},
    error::SourceError,
    rotation::{HEAD, LAST_NORM, SourceRotation},
};

/// Architectures whose norms stand before what reads the residual stream, so that their gains can be folded, and whose tensors
/// that touch the stream are all known.
const ARCHITECTURES: [&str; 8] = [
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "MixtralForCausalLM",
    "Phi3ForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "Qwen3MoeForCausalLM",
    "SmolLM3ForCausalLM",
];
const CONFIG: &str = "config.json";

impl Source {
    /// Rotates the residual stream when the source is imported, by an orthogonal matrix that is made of `seed`. Gains of norms are
    /// folded into what reads the stream, and a head that was one with the embedding becomes a tensor of its own. The model computes
    /// the same logits but for rounding, and outliers among the channels of its weights are spread. Its hidden states are others, so that
    /// it is of no use for embeddings.
    ///
    /// # Errors
    ///
    /// Returns [`SourceError::Rotation`] if the architecture or the size of the stream does not allow it. Whether all tensors do is
    /// found by [`Plan::new`](crate::Plan::new).
    pub fn rotated(mut self, seed: u64) -> Result<Self, SourceError> {
        let root = self.root.clone();
        let fail = |problem: String| SourceError::Rotation { path: root.clone(), problem };
        if self.base.is_some() {
            return Err(fail("it is an adapter, expected a model".into()));
        }
        if self.kind == Kind::Gguf {
            return Err(fail("it is in GGUF, expected a checkpoint".into()));
        }
        let [member] = &*self.members else { return Err(fail("it has several parts, expected one model".into())) };
        let is_rotated = self.changes.as_ref().is_some_and(|changes| changes.rotation.is_some());
        if is_rotated || self.rotation.is_some() {
            return Err(fail("it is rotated already".into()));
        }
        let config = member.config.as_ref().ok_or_else(|| fail("it has no config.json".into()))?;
        let architecture = config.architecture.clone().unwrap_or_default();
        if !ARCHITECTURES.contains(&&*architecture) {
            let known = ARCHITECTURES.join(", ");
            return Err(fail(format!(
                "norms of {architecture:?} are not known to be foldable into what follows them, expected one of {known}"
            )));
        }
        let facts = config.facts();
        if facts.norm.kind.as_deref().is_some_and(|kind| kind != "rms") {
            return Err(fail("its norms subtract a mean, which a rotation does not keep".into()));
        }
        let size = facts.hidden_size.ok_or_else(|| fail("its config.json states no hidden_size".into()))?;
        let norm = self.tensors_of(member).iter().find(|tensor| tensor.name == LAST_NORM);
        let norm = norm.ok_or_else(|| fail(format!("it has no tensor {LAST_NORM}")))?;
        // A rotation takes memory for each number, which a file without as many does not get.
        if norm.shape.dims() != [size] {
            let found = &norm.shape;
            return Err(fail(format!(
                "its config.json states a hidden_size of {size}, and {LAST_NORM} has the shape {found}"
            )));
        }
        let numbers = usize::try_from(size).map_err(|error| fail(error.to_string()))?;
        let rotation = Rotation::new(numbers, seed).map_err(|error| fail(error.to_string()))?;
        let has_head = self.tensors_of(member).iter().any(|tensor| tensor.name == HEAD);
        let is_untied = !has_head || facts.tied_embeddings == Some(true);
        if is_untied {
            self.untie().map_err(fail)?;
        }
        self.rotation = Some(SourceRotation { seed, rotation: Arc::new(rotation), size, is_untied });
        Ok(self)
    }

    /// Says in `config.json` that the head is a tensor of its own.
    fn untie(&mut self) -> Result<(), String> {
        let place = self.companions.iter().position(|file| file.name.as_str() == CONFIG);
        let place = place.ok_or("it has no config.json")?;
        let found = &self.companions[place];
        let bytes = found.bytes(MAX_CONFIG_BYTES).ok_or("its config.json cannot be read")?;
        let wrong = |error: &dyn std::fmt::Display| format!("its config.json: {error}");
        let mut document: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|error| wrong(&error))?;
        document.insert("tie_word_embeddings".into(), Value::Bool(false));
        let bytes = serde_json::to_vec_pretty(&document).map_err(|error| wrong(&error))?;
        let config = ModelConfig::parse(&bytes).map_err(|error| wrong(&error))?;
        let (name, path, size) = (found.name.clone(), found.path.clone(), bytes.len() as u64);
        let data: Arc<[u8]> = bytes.into();
        let made = Companion::new(name, size, Arc::new(data));
        self.companions[place] = Companion { path, kind: CompanionKind::Json, ..made };
        self.config = Some(config.clone());
        self.members[0].config = Some(config);
        Ok(())
    }
}
