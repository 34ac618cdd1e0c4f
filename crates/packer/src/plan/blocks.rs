//! The schemes that the tensors of GGUF files are stored in.

use std::borrow::Cow;

use longshore_manifest::document::{Arrangement, GgmlBlocks};
use longshore_quant::{
    Scheme,
    ggml::{self, GgmlType, Mapping},
};
use longshore_st_format::{Dtype, Shape};

use super::{
    decide::Decider,
    error::PlanError,
    options::{PlanOptions, TakeOver},
    planned::{PlannedTensor, quantized_from},
};
use crate::{
    model::{coding::kind::Coding, experts::stack::Stack},
    source::member::Member,
};

/// Type of the values of blocks that are decoded to be quantized again.
const DECODED: Dtype = Dtype::BF16;

/// Decides how the tensors of one member that came from GGUF files are stored.
pub(super) struct BlockDecider<'a> {
    options: &'a PlanOptions,
    decider: Decider<'a>,
    /// The tensors that the requested scheme would quantize again, each with the name of its coding.
    refused: Vec<String>,
}

/// The form in which a tensor is stored.
pub(super) struct BlockDecision {
    pub(super) scheme: Option<Scheme>,
    /// Type of the values: that of the scales where a scheme holds them.
    pub(super) dtype: Dtype,
    pub(super) coding: Coding,
    pub(super) rule: Cow<'static, str>,
}

impl<'a> BlockDecider<'a> {
    pub(super) fn new(member: &'a Member, options: &'a PlanOptions) -> Self {
        Self { options, decider: Decider::new(member, options), refused: Vec::new() }
    }

    /// Chooses the form of a tensor. A tensor that cannot be stored with these options is noted for [`Self::finish`].
    pub(super) fn decide(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &Shape,
        coding: Coding,
    ) -> Result<BlockDecision, PlanError> {
        let kept = |rule: String| Ok(BlockDecision { scheme: None, dtype, coding, rule: rule.into() });
        let Coding::Ggml { blocks } = coding else {
            return match (coding, self.options.scheme) {
                (Coding::Plain, None) => kept(format!("{dtype}: kept")),
                _ => self.ask(name, dtype, shape, coding),
            };
        };
        let mapping = mapping_of(blocks, shape);
        let taken = |mapping: Mapping| {
            let (scheme, float) = (mapping.scheme(), mapping.float());
            let dtype = float.name().parse().expect("the three float types are safetensors types");
            let rule = format!("{}: taken over without loss", blocks.name).into();
            Ok(BlockDecision { scheme: Some(scheme), dtype, coding, rule })
        };
        let PlanOptions { scheme, take_over, requantize, .. } = *self.options;
        let Some(asked) = scheme else {
            return match mapping {
                _ if take_over != TakeOver::Every => kept(format!("{}: kept", blocks.name)),
                Some(mapping) => taken(mapping),
                None => kept(format!("{}: kept, {}", blocks.name, obstacle(blocks, shape))),
            };
        };
        let is_held = |mapping: &Mapping, scheme: Scheme| {
            let found = mapping.scheme();
            found == scheme || take_over == TakeOver::Format && found.format() == scheme.format()
        };
        if let Some(mapping) = mapping.filter(|mapping| is_held(mapping, asked)) {
            return taken(mapping);
        }
        if !requantize {
            self.refused.push(format!("{name} ({})", blocks.name));
            return kept(format!("{}: kept", blocks.name));
        }
        let decision = self.ask(name, DECODED, shape, coding)?;
        match (decision.scheme, mapping) {
            (None, _) => kept(format!("{}: kept, {}", blocks.name, decision.rule)),
            (Some(scheme), Some(mapping)) if is_held(&mapping, scheme) => taken(mapping),
            _ => Ok(decision),
        }
    }

    /// Has the policy decide.
    fn ask(&self, name: &str, dtype: Dtype, shape: &Shape, coding: Coding) -> Result<BlockDecision, PlanError> {
        let stack = Stack {
            name: name.to_owned(),
            dtype,
            shape: shape.clone(),
            arrangement: Arrangement::None,
            coding: if matches!(coding, Coding::Ggml { .. }) { Coding::Plain } else { coding },
            tensors: Vec::new(),
            is_matrix: true,
        };
        let (scheme, rule) = self.decider.decide(&stack, shape.rank() > 2)?;
        let (dtype, coding) = match coding {
            Coding::Plain if scheme.is_some() && dtype == Dtype::F64 => (quantized_from(dtype), Coding::Double),
            _ => (dtype, coding),
        };
        Ok(BlockDecision { scheme, dtype, coding, rule })
    }

    /// Refuses the tensors that would be quantized again.
    pub(super) fn finish(self) -> Result<(), PlanError> {
        match (self.options.scheme, self.refused.is_empty()) {
            (Some(asked), false) => Err(PlanError::RequantizeBlocks { tensors: self.refused, asked }),
            _ => Ok(()),
        }
    }
}

/// The mapping of a tensor's blocks into a scheme. A scheme needs two axes, and there is nothing to take over from an
/// empty tensor.
fn mapping_of(blocks: &GgmlBlocks, shape: &Shape) -> Option<Mapping> {
    let mapping = Mapping::of(type_of(blocks))?;
    (shape.rank() >= 2 && shape.elements() != Some(0)).then_some(mapping)
}

/// The type of blocks.
pub(crate) fn type_of(blocks: &GgmlBlocks) -> GgmlType {
    blocks.name.parse().expect("both crates name ggml's types alike")
}

/// The reason why no scheme holds a tensor.
fn obstacle(blocks: &GgmlBlocks, shape: &Shape) -> &'static str {
    match type_of(blocks) {
        known if Mapping::of(known).is_some() && shape.rank() < 2 => "MLX quantizes matrices only",
        known if Mapping::of(known).is_some() => "it has no elements",
        GgmlType::Q2K | GgmlType::Q3K | GgmlType::Q6K => "MLX has no groups of 16",
        GgmlType::Q8_1 | GgmlType::Q8K => "a type of activations",
        _ => "MLX has no codebooks",
    }
}

/// Whether an export can write the blocks of the source again, byte for byte.
fn comes_back(tensor: &PlannedTensor) -> bool {
    match (tensor.scheme, tensor.coding) {
        (Some(scheme), Coding::Ggml { blocks }) => {
            tensor.is_repacked() && ggml::types_of(scheme).contains(&type_of(blocks))
        }
        (Some(_), Coding::Packed { .. }) => true,
        (scheme, _) => scheme.is_none(),
    }
}

/// Says what becomes of the tensors of GGUF files.
pub(super) fn note<'t>(is_projector: bool, tensors: impl Iterator<Item = &'t PlannedTensor>) -> String {
    let what = if is_projector { "a projector of pictures or sound (mmproj)" } else { "a model in GGUF" };
    let (mut taken, mut encoded, mut lost) = (0_usize, 0_usize, Vec::new());
    for tensor in tensors {
        match tensor.scheme {
            Some(_) if tensor.is_repacked() => taken += 1,
            Some(_) => encoded += 1,
            None => {}
        }
        if !comes_back(tensor) {
            lost.push(tensor.name.as_str());
        }
    }
    let restored = match &*lost {
        [] => "and `export --format gguf` restores the files".to_owned(),
        [first, ..] => format!(
            "and `export --format gguf` no longer restores the files byte for byte: it needs --type for {} of them, \
             {first:?} first",
            lost.len()
        ),
    };
    if taken + encoded == 0 {
        return format!("{what}: tensors keep ggml's types and values, {restored}");
    }
    let quantized = if encoded == 0 { String::new() } else { format!(", {encoded} are quantized") };
    format!("{what}: {taken} tensors are taken over in schemes of MLX without loss{quantized}; {}", &restored[4..])
}
