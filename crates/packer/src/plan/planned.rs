//! A plan: the blobs and files that an import writes.

use std::{borrow::Cow, ops::Range, sync::Arc};

use longshore_manifest::document::{Arrangement, Change, DraftHead, Quantization, Role};
use longshore_quant::{FloatType, Scheme};
use longshore_st_format::{Dtype, Layout, LayoutPart, Shape};
use longshore_transform::adapter::{Magnitude, View};

use super::{
    factors::Factors,
    options::{Awq, TakeOver},
};
use crate::{
    model::coding::kind::{Coding, PackedLayout},
    source::{checkpoint::Source, classify::Kind, companions::Companion},
    statistics::recorded::Weighed,
    tensor::SourceParts,
};

/// The result of planning: every blob that an import will write, with its complete header and the way each tensor in it
/// is made.
///
/// A plan is a function of the [`Source`] and the [`PlanOptions`](crate::PlanOptions). The same checkpoint gives the
/// same plan wherever and however its files are stored. Executing the plan needs no further decision.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// The scheme that was requested.
    pub scheme: Option<Scheme>,
    /// The blocks of GGUF files that were to be taken over into schemes.
    pub take_over: TakeOver,
    /// The name of the policy that chose the schemes.
    pub policy: String,
    /// The blobs in the order of the manifest's layers, member by member. Within a member, plain tensors come first, in
    /// byte order of their names. Expert groups follow in byte order of their names. If a group has several blobs, they
    /// are in byte order of their tensors.
    pub blobs: Vec<PlannedBlob>,
    /// The draft heads among the tensors.
    pub heads: Vec<DraftHead>,
    /// The files stored beside the weights, in byte order of their names.
    pub files: Vec<Companion>,
    /// Warnings for the user, including those of the source.
    pub warnings: Vec<String>,
    /// Remarks for the user that are no reason for concern.
    pub notes: Vec<String>,
    pub(crate) source: Arc<Source>,
    /// Factors of columns by their inputs.
    pub(crate) awq: Option<Awq>,
}

/// One safetensors file that the import writes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlannedBlob {
    /// Name of the blob's layer: that of the tensor or of the expert group, with the prefix `<component>/` in a
    /// pipeline.
    pub name: String,
    /// The component of the pipeline that the tensors belong to. Names of tensors do not include it.
    pub component: Option<String>,
    /// The scheme of the quantized tensors in the blob, which the metadata names. `None` if no tensor is quantized.
    pub scheme: Option<Scheme>,
    /// The header, and the place of every part.
    pub layout: Layout,
    /// The tensors, in byte order of their names.
    pub tensors: Vec<PlannedTensor>,
}

/// One tensor of a blob.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlannedTensor {
    /// Name of the tensor in the blob.
    pub name: String,
    /// Type of the values. If the source holds codes, the type that they decode to.
    pub dtype: Dtype,
    /// Logical shape after arranging and before packing: `[experts, out, in]` for a stacked projection.
    pub shape: Shape,
    /// The scheme that the tensor is quantized with in the store. `None` for plain values.
    pub scheme: Option<Scheme>,
    /// Shape of the global scale, which only nvfp4 can have: `[]`, or `[experts, 1, 1]` if each expert of the source
    /// has its own.
    pub global_scale: Option<Shape>,
    /// The arrangement of the values on the way from the source to the store.
    pub arrangement: Arrangement,
    /// The change of the values on the same way.
    pub change: Change,
    /// Corrections of the values that undoing the change gives.
    pub ulps: Vec<i8>,
    /// The stored values are those of the model plus this.
    pub offset: i32,
    /// The form in which the source stores the values. If the [exact scheme](Coding::exact_scheme) of this coding is
    /// the tensor's scheme, codes are repacked. Otherwise they are decoded first.
    pub coding: Coding,
    /// The tensors that this one is made of, in the order of the experts. A tensor that is no stack has one unit.
    pub units: Vec<Unit>,
    /// The rule that chose the scheme, as text for people.
    pub rule: Cow<'static, str>,
    pub(crate) source_len: u64,
    /// What adapters add to the values.
    pub(crate) merges: Vec<Merge>,
    /// The type of the values of an adapter's tensor that is read in place of the model's.
    pub(crate) replaced: Option<Dtype>,
    /// What a rotation of the residual stream does to the values.
    pub(crate) turn: Option<Turn>,
    /// Factors of the columns and rows.
    pub(crate) factors: Option<Factors>,
}

/// What a rotation of the residual stream does to a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Rows that are multiplied with the stream take over the gain of a norm, a tensor of the source, and are rotated.
    Reads { gain: Option<usize> },
    /// Columns that are added to the stream are rotated.
    Writes,
    /// The gain of a norm, which others have taken over, becomes one.
    Gain,
}

/// A product that an adapter adds to rows of a matrix of the planned tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Merge {
    /// The adapter, by its place in the source.
    pub(crate) adapter: usize,
    pub(crate) matrix: u64,
    pub(crate) rows: Range<u64>,
    pub(crate) columns: u64,
    /// The factors along the rows and along the columns, whose tensors are indices into [`Source::tensors`].
    pub(crate) left: View,
    pub(crate) right: View,
    pub(crate) rank: u64,
    pub(crate) scale: f32,
    pub(crate) magnitude: Option<Magnitude>,
}

/// One tensor of a float checkpoint. A stored tensor is made of one or several units.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unit {
    /// Name of the tensor in a float checkpoint.
    pub name: String,
    /// The source tensors that hold the unit.
    pub parts: SourceParts,
}

impl Plan {
    /// The weights that are made, as statistics are compared with them.
    pub(crate) fn weighed(&self) -> Weighed {
        weighed(&self.source)
    }

    /// The shards of the source that a blob is made of, as indices of [`Source::shards`], each once, in order.
    #[must_use]
    pub fn shards_of(&self, blob: &PlannedBlob) -> std::collections::BTreeSet<usize> {
        let units = blob.tensors.iter().flat_map(|tensor| &tensor.units);
        let gains = blob.tensors.iter().filter_map(|tensor| match tensor.turn {
            Some(Turn::Reads { gain }) => gain,
            _ => None,
        });
        let parts = units.flat_map(|unit| unit.parts.iter()).map(|(_, part)| part);
        parts.chain(gains).map(|part| self.source.tensors[part].shard).collect()
    }
}

impl PlannedTensor {
    /// The length in bytes of the source tensors that the tensor is made of.
    #[must_use]
    pub fn source_len(&self) -> u64 {
        self.source_len
    }

    /// The coding of the stored values: that of the scheme, or ggml's blocks. `None` for plain values.
    #[must_use]
    pub fn quantization(&self) -> Option<Quantization> {
        match (self.scheme, self.coding) {
            (Some(scheme), _) => {
                Some(Quantization { quant_type: scheme.quant_type().into(), group_size: scheme.group_size() })
            }
            (None, Coding::Ggml { blocks }) => Some(blocks.quantization()),
            (None, _) => None,
        }
    }

    /// Name of the coding, as a request spells it: `int4`, `int4-g32`, `nvfp4`, `q4_0`. `None` for plain values.
    #[must_use]
    pub fn coding_name(&self) -> Option<String> {
        let scheme = self.scheme.map(|scheme| scheme.to_string());
        scheme.or_else(|| self.quantization().map(|coding| coding.to_string()))
    }

    /// Whether the codes of the source are kept, if under other names or in another order.
    #[must_use]
    pub fn is_repacked(&self) -> bool {
        self.scheme.is_some() && self.coding.exact_scheme() == self.scheme && !self.is_changed()
    }

    /// Whether adapters, a rotation or factors change the values.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.is_merged() || self.turn.is_some() || self.factors.is_some()
    }

    /// Whether adapters change the values.
    pub(crate) fn is_merged(&self) -> bool {
        !self.merges.is_empty() || self.replaced.is_some()
    }

    /// The type of the values that are read. An adapter may have another type than the model.
    pub(crate) fn read_float(&self) -> FloatType {
        float_type(self.replaced.unwrap_or(self.dtype)).expect("the plan changes floats")
    }

    /// The length in bytes of the values or blocks, if these are stored as the source has them.
    pub(crate) fn plain_len(&self) -> u64 {
        let len = match self.coding {
            Coding::Ggml { blocks } => blocks.shape(&self.shape).map(|shape| shape.byte_len(Dtype::U8)),
            Coding::Double => Some(self.shape.byte_len(Dtype::F64)),
            _ => Some(self.shape.byte_len(self.dtype)),
        };
        len.and_then(Result::ok).expect("the plan has laid it out")
    }

    /// The type of the values. The tensor must be quantized or decoded, because its values are floats then.
    pub(crate) fn float(&self) -> FloatType {
        float_type(self.dtype).expect("the plan quantizes floats and decodes to floats")
    }

    /// Indices into [`Source::tensors`]: the weights of all units, then the scales of all units, and so on.
    pub fn sources(&self) -> impl Iterator<Item = usize> {
        let mut found: Vec<(usize, usize)> = self.units.iter().flat_map(|unit| unit.parts.iter()).collect();
        // The sort is stable: the units keep their order within each role.
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, at)| at)
    }

    /// Whether the source has a global scale that the codes need.
    pub(crate) fn has_global_scale(&self) -> bool {
        let is_there = self.units.first().is_some_and(|unit| unit.parts.global_scale.is_some());
        match self.coding {
            Coding::Packed { scheme, layout: PackedLayout::Stored } => !scheme.has_bias() && is_there,
            Coding::Packed { layout: PackedLayout::ModelOpt | PackedLayout::CompressedTensors, .. } => is_there,
            _ => false,
        }
    }

    /// The operation on the source tensors, in one word: `none`, `stack` or `transpose` for plain values, `decode` or
    /// `repack` for weights that are quantized in the source, `f32` for F64 that is rounded to be quantized. The last
    /// three get the suffix `_stack` if experts are stacked, too, and `f32` the suffix `_transpose` if they are transposed.
    /// `merge`, `rotate` or `scale` where an adapter, a rotation or factors of columns and rows change the values, with the same suffix; the
    /// later of these where several do. For tensors of GGUF files: `reshape`, `permute`, `join`, `split`, or `change` where values change.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        let is_stacked = self.arrangement == Arrangement::Stack;
        if self.is_changed() {
            return match (self.turn, &self.factors, is_stacked) {
                (Some(_), _, true) => "rotate_stack",
                (Some(_), _, false) => "rotate",
                (None, Some(_), true) => "scale_stack",
                (None, Some(_), false) => "scale",
                (None, None, true) => "merge_stack",
                (None, None, false) => "merge",
            };
        }
        match (self.coding, is_stacked) {
            (Coding::Plain, true) => "stack",
            (Coding::Plain, false) if self.arrangement == Arrangement::Transpose => "transpose",
            (Coding::Plain | Coding::Ggml { .. }, _) if self.scheme.is_none() => match self.arrangement {
                Arrangement::Reshape if !self.change.is_none() => "change",
                Arrangement::Reshape => "reshape",
                Arrangement::Halves { .. } => "permute",
                Arrangement::Interleave { .. } | Arrangement::Concatenate { .. } | Arrangement::LatentHeads { .. } => {
                    "join"
                }
                Arrangement::Rows { .. } => "split",
                _ => "none",
            },
            (Coding::Double, false) if self.arrangement == Arrangement::Transpose => "f32_transpose",
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
    /// The source that the plan was made from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The length in bytes of the tensors that are read, without headers.
    #[must_use]
    pub fn source_bytes(&self) -> u64 {
        self.source.tensor_bytes()
    }

    /// The request for quantization as text: a scheme, or `mlx` for blocks that are taken over into the schemes that hold
    /// them. A group is named where it was asked for.
    #[must_use]
    pub fn request(&self) -> Option<String> {
        let Some(scheme) = self.scheme else {
            return (self.take_over == TakeOver::Every).then(|| "mlx".to_owned());
        };
        let text = scheme.to_string();
        let is_named = self.source.kind == Kind::Gguf && self.take_over == TakeOver::Scheme && scheme.is_affine();
        let leaves_out = !text.contains("-g");
        Some(if is_named && leaves_out { format!("{text}-g{}", scheme.group_size()) } else { text })
    }

    /// The length in bytes of all blobs, with headers. Less is written if blobs are equal or already in the store.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.layout.file_len()).fold(0, u64::saturating_add)
    }
}

impl PlannedBlob {
    /// The place of a part of `tensor` in the blob.
    pub(crate) fn part(&self, tensor: &PlannedTensor, role: Role) -> LayoutPart<'_> {
        let name = format!("{}{}", tensor.name, role.suffix());
        self.layout.get(&name).expect("the plan gives every part of a tensor a place in the layout")
    }

    /// The length in bytes of the source tensors that the blob is made of.
    #[must_use]
    pub fn source_len(&self) -> u64 {
        self.tensors.iter().map(PlannedTensor::source_len).fold(0, u64::saturating_add)
    }
}

/// The weights that an import of `source` makes, as statistics are compared with them. Factors of columns that the import chooses itself
/// are no part of that: it divides the statistics by them.
pub(crate) fn weighed(source: &Source) -> Weighed {
    let changes = source.changes.as_ref();
    let was_rotated = changes.and_then(|changes| changes.rotation);
    let made = source.rotation.as_ref().map(|rotation| rotation.seed);
    Weighed {
        model: source.digest,
        seed: made.or(was_rotated.map(|rotation| rotation.seed)),
        is_made: made.is_some(),
        awq: changes.and_then(|changes| changes.awq),
    }
}

/// The type that values of this type have when they are quantized: F32 for F64, else their own.
pub(crate) fn quantized_from(dtype: Dtype) -> Dtype {
    if dtype == Dtype::F64 { Dtype::F32 } else { dtype }
}

/// The float type that a dtype stands for, if values of that dtype can be quantized.
pub(crate) fn float_type(dtype: Dtype) -> Option<FloatType> {
    dtype.name().parse().ok()
}
