//! Which scheme a tensor gets, and what it is stored as.

use std::borrow::Cow;

use longshore_quant::{
    FloatType, Part, Scheme,
    policy::{Policy, Query},
};
use longshore_st_format::{Dtype, Shape};

use super::{PlanError, PlanOptions, PlannedTensor};
use crate::source::Source;

/// Asks the policy about the tensors of one source.
pub(super) struct Decider<'a> {
    policy: &'a Policy,
    scheme: Option<Scheme>,
    /// What is the same for all tensors of the source; its name and shape are those of none.
    model: Query<'a>,
}

impl<'a> Decider<'a> {
    pub(super) fn new(source: &'a Source, options: &'a PlanOptions) -> Self {
        let config = source.config.as_ref();
        let model = Query::new("", &[])
            .architecture(source.architecture())
            .component(config.and_then(crate::ModelConfig::component))
            .layers(config.and_then(|config| config.layers))
            .experts(config.and_then(|config| config.experts));
        Self { policy: &options.policy, scheme: options.scheme, model }
    }

    /// The scheme of a tensor of this logical shape, and the rule that chose it.
    pub(super) fn decide(
        &self,
        name: &str,
        dtype: Dtype,
        shape: &Shape,
        stacked: bool,
    ) -> (Option<Scheme>, Cow<'static, str>) {
        if self.scheme.is_some() {
            if float_type(dtype).is_none() {
                return (None, format!("{dtype}: kept, only F32, F16 and BF16 are quantized").into());
            }
            if shape.elements() == Some(0) {
                return (None, "no elements: kept".into());
            }
        }
        let query = self.model.tensor(name, shape.dims()).stacked(stacked);
        let decision = self.policy.decide(&query, self.scheme);
        (decision.scheme, decision.rule)
    }
}

/// The parts that a tensor is stored as: itself, or its packed codes with their companions.
pub(super) fn parts(tensor: &PlannedTensor) -> Result<Vec<(String, Dtype, Shape)>, PlanError> {
    let plain = || (tensor.name.clone(), tensor.dtype, tensor.shape.clone());
    let (Some(scheme), Some(float)) = (tensor.scheme, float_type(tensor.dtype)) else { return Ok(vec![plain()]) };
    let parts = scheme
        .parts(float, tensor.shape.dims())
        .map_err(|source| PlanError::Scheme { tensor: tensor.name.clone(), source })?;
    let stored = |suffix: &str, part: Part| {
        let dtype = part.kind.dtype().parse().expect("parts have the names of safetensors dtypes");
        (format!("{}{suffix}", tensor.name), dtype, Shape::from(part.shape))
    };
    let companions = [(".scale", Some(parts.scale)), (".bias", parts.bias)];
    let companions = companions.into_iter().filter_map(|(suffix, part)| Some(stored(suffix, part?)));
    Ok(std::iter::once(stored("", parts.weight)).chain(companions).collect())
}

/// The dtype as one that can be quantized.
fn float_type(dtype: Dtype) -> Option<FloatType> {
    match dtype {
        Dtype::F32 => Some(FloatType::F32),
        Dtype::F16 => Some(FloatType::F16),
        Dtype::BF16 => Some(FloatType::BF16),
        _ => None,
    }
}
