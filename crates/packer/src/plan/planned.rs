//! A plan: what an import will write.

use std::{borrow::Cow, sync::Arc};

use longshore_manifest::document::{Arrangement, Role};
use longshore_quant::{FloatType, Scheme};
use longshore_st_format::{Dtype, Layout, LayoutPart, Shape};

use crate::{
    model::coding::kind::{Coding, PackedLayout},
    source::{checkpoint::Source, companions::Companion},
    tensor::SourceParts,
};

/// What an import will write: every blob with its complete header, and how each tensor in it comes about.
///
/// A plan is a function of the [`Source`] and the [`PlanOptions`]: the same checkpoint gives the same plan wherever and
/// however its files lie. Executing it needs no further decision.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// The scheme that was asked for.
    pub scheme: Option<Scheme>,
    /// The name of the policy that chose schemes.
    pub policy: String,
    /// The blobs in the order of the manifest's layers, member by member: plain tensors in byte order of their names, then
    /// expert groups in byte order of theirs, a group of several blobs in byte order of its tensors.
    pub blobs: Vec<PlannedBlob>,
    /// The files stored beside the weights, in byte order of their names.
    pub files: Vec<Companion>,
    /// What a user should know, those of the source included.
    pub warnings: Vec<String>,
    pub(crate) source: Arc<Source>,
}

/// One safetensors file to be written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlannedBlob {
    /// The name of its layer: its tensor's, or the prefix of its expert group, after `<component>/` in a pipeline.
    pub name: String,
    /// The pipeline's component that its tensors belong to; their names do not tell.
    pub component: Option<String>,
    /// The scheme of every tensor in it that has companions, which its metadata names. `None` if none has.
    pub scheme: Option<Scheme>,
    /// Its header, and where every part goes.
    pub layout: Layout,
    /// Its tensors, in byte order of their names.
    pub tensors: Vec<PlannedTensor>,
}

/// One tensor of a blob.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlannedTensor {
    /// Its name in the blob.
    pub name: String,
    /// The type of its values; where the source has codes, of what they decode to.
    pub dtype: Dtype,
    /// Its logical extents, after the transform and before packing: `[experts, out, in]` for a stacked projection.
    pub shape: Shape,
    /// How it is quantized in the store. `None` for plain values.
    pub scheme: Option<Scheme>,
    /// The shape of its global scale, which nvfp4 alone can have: `[]`, or `[experts, 1, 1]` for experts that came with their own.
    pub global_scale: Option<Shape>,
    /// How the values are arranged between the source and the store.
    pub arrangement: Arrangement,
    /// How the source stores them. Where this is [exactly](Coding::exact_scheme) the tensor's own scheme, codes are repacked;
    /// otherwise they are decoded first.
    pub coding: Coding,
    /// The tensors that it is made from, in the order of the experts; one for a tensor that is no stack.
    pub units: Vec<Unit>,
    /// Which rule decided, for people.
    pub rule: Cow<'static, str>,
    pub(crate) source_len: u64,
}

/// One tensor of a float checkpoint, of which a stored one is made, alone or with others.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unit {
    /// The name that a float checkpoint gives it.
    pub name: String,
    /// The source's tensors that hold it.
    pub parts: SourceParts,
}

impl PlannedTensor {
    /// Bytes of the source tensors that it is made of.
    #[must_use]
    pub fn source_len(&self) -> u64 {
        self.source_len
    }

    /// Whether the source's codes are kept, under other names or in another order.
    #[must_use]
    pub fn is_repacked(&self) -> bool {
        self.scheme.is_some() && self.coding.exact_scheme() == self.scheme
    }

    /// The type of its values, if they are quantized or decoded: it is a float's then.
    pub(crate) fn float(&self) -> FloatType {
        float_type(self.dtype).expect("the plan quantizes floats and decodes to floats")
    }

    /// Indices into [`Source::tensors`]: the weights of all units, then the scales of all, and so on.
    pub fn sources(&self) -> impl Iterator<Item = usize> {
        let mut found: Vec<(usize, usize)> = self.units.iter().flat_map(|unit| unit.parts.iter()).collect();
        // Stable: the units of one place keep their order.
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, at)| at)
    }

    /// Whether the source has global scales that its codes need.
    pub(crate) fn has_global_scale(&self) -> bool {
        let is_there = self.units.first().is_some_and(|unit| unit.parts.global_scale.is_some());
        match self.coding {
            Coding::Packed { scheme, layout: PackedLayout::Stored } => !scheme.has_bias() && is_there,
            Coding::Packed { layout: PackedLayout::ModelOpt | PackedLayout::CompressedTensors, .. } => is_there,
            _ => false,
        }
    }

    /// What happens to the sources, in a word: `none`, `stack`, `transpose`; `decode` and `repack` for what is quantized in the
    /// source, `f32` for F64, with `_stack` where the experts are stacked, too.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        let is_stacked = self.arrangement == Arrangement::Stack;
        match (self.coding, is_stacked) {
            (Coding::Plain, true) => "stack",
            (Coding::Plain, false) if self.arrangement == Arrangement::Transpose => "transpose",
            (Coding::Plain, false) => "none",
            (Coding::Double, false) => "f32",
            (Coding::Double, true) => "f32_stack",
            (_, true) if self.is_repacked() => "repack_stack",
            (_, false) if self.is_repacked() => "repack",
            (_, true) => "decode_stack",
            (_, false) => "decode",
        }
    }
}

impl Plan {
    /// The source that it was made from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Bytes of the tensors that are read, without headers.
    #[must_use]
    pub fn source_bytes(&self) -> u64 {
        self.source.tensor_bytes()
    }

    /// Bytes of all blobs, headers included. Less is written where two blobs are equal or the store has one already.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.layout.file_len()).fold(0, u64::saturating_add)
    }
}

impl PlannedBlob {
    /// Where a part of one of its tensors lies.
    pub(crate) fn part(&self, tensor: &PlannedTensor, role: Role) -> LayoutPart<'_> {
        let name = format!("{}{}", tensor.name, role.suffix());
        self.layout.get(&name).expect("the plan gives every part of a tensor a place in the layout")
    }

    /// Bytes of the source tensors that it is made of.
    #[must_use]
    pub fn source_len(&self) -> u64 {
        self.tensors.iter().map(PlannedTensor::source_len).fold(0, u64::saturating_add)
    }
}

/// The dtype as one that can be quantized.
pub(crate) fn float_type(dtype: Dtype) -> Option<FloatType> {
    dtype.name().parse().ok()
}
