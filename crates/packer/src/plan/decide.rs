//! The choice of a scheme for each tensor.

use std::borrow::Cow;

use longshore_quant::{Scheme, policy::Query};
use longshore_st_format::Shape;

use super::{
    error::PlanError,
    options::PlanOptions,
    planned::{float_type, quantized_from},
};
use crate::{
    model::{coding::kind::Coding, experts::stack::Stack},
    source::member::Member,
};

/// Decides how the tensors of one member of a source are stored.
pub(super) struct Decider<'a> {
    options: &'a PlanOptions,
    /// The part of a query that is the same for all tensors of the member. Name and shape are placeholders.
    model: Query<'a>,
}

type Decision = (Option<Scheme>, Cow<'static, str>);

impl<'a> Decider<'a> {
    pub(super) fn new(member: &'a Member, options: &'a PlanOptions) -> Self {
        let config = member.config.as_ref();
        let model = Query {
            architecture: member.architecture(),
            component: member.component_for_policy(),
            layers: config.and_then(|config| config.stated_layers),
            counted_layers: config.and_then(|config| config.layers),
            experts: config.and_then(|config| config.experts),
            dense_layers: config.and_then(|config| config.dense_layers.as_deref()),
            draft: member.is_draft(),
            tied: config.is_some_and(|config| config.tied_embeddings == Some(true)),
            ..Query::default()
        };
        Self { options, model }
    }

    /// The shape of the global scale of tensors that are quantized to nvfp4. `None` if they get no global scale.
    pub(super) fn global_scale(&self) -> Option<Shape> {
        self.options.global_scale.then(|| Shape::new([]))
    }

    /// Chooses the scheme of a tensor or of a stack of experts. Also returns the rule that chose it.
    pub(super) fn decide(&self, tensor: &Stack, stacked: bool) -> Result<Decision, PlanError> {
        let &PlanOptions { scheme, floats, requantize, .. } = self.options;
        let kept = |rule: &'static str| (tensor.coding.exact_scheme(), rule.into());
        Ok(match (tensor.coding, scheme) {
            (Coding::Ggml { blocks }, _) => (None, format!("{}: kept", blocks.name).into()),
            (Coding::Plain | Coding::Double, _) | (Coding::Fp8 { .. }, Some(_)) => self.ask(tensor, stacked, scheme),
            (Coding::Fp8 { .. }, None) if floats => (None, "FP8: decoded".into()),
            (Coding::Fp8 { is_exact: true, .. }, None) => {
                kept("FP8 whose scales are powers of two: repacked without loss")
            }
            (Coding::Fp8 { .. }, None) => {
                let decision = self.options.policy.decide_fp8(tensor.shape.dims());
                (decision.scheme, decision.rule)
            }
            (_, Some(scheme)) if !requantize => {
                let (tensor, found) = (tensor.name.clone(), tensor.coding.exact_scheme().unwrap_or(scheme));
                return Err(PlanError::Requantize { tensor, found, asked: scheme });
            }
            (Coding::Transposed { scheme, .. }, None) if floats && requantize => {
                return Err(PlanError::Transposed { tensor: tensor.name.clone(), found: scheme });
            }
            (_, None) if floats && requantize => (None, "quantized in the source: decoded".into()),
            (_, None) => kept("quantized in the source: repacked without loss"),
            (coding, Some(_)) => match self.ask(tensor, stacked, scheme) {
                (None, _) => kept("the policy does not quantize it: repacked as it is"),
                decision if decision.0 == coding.exact_scheme() => decision,
                decision => match coding {
                    Coding::Transposed { scheme, .. } => {
                        return Err(PlanError::Transposed { tensor: tensor.name.clone(), found: scheme });
                    }
                    _ => decision,
                },
            },
        })
    }

    fn ask(&self, tensor: &Stack, stacked: bool, scheme: Option<Scheme>) -> Decision {
        if scheme.is_some() {
            if float_type(quantized_from(tensor.dtype)).is_none() {
                return (None, format!("{}: kept, only F64, F32, F16 and BF16 are quantized", tensor.dtype).into());
            }
            if tensor.shape.elements() == Some(0) {
                return (None, "no elements: kept".into());
            }
        }
        let query = Query { name: &tensor.name, shape: tensor.shape.dims(), stacked, ..self.model };
        let decision = self.options.policy.decide(&query, scheme);
        (decision.scheme, decision.rule)
    }
}
