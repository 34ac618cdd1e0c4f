//! Every decision of an import, made from headers and configuration alone.

mod check;
mod decide;
mod draft;
mod error;

use std::{borrow::Cow, collections::BTreeMap};

pub use error::PlanError;
pub use longshore_manifest::document::Transform;
use longshore_quant::{FloatType, Scheme, policy::Policy};
use longshore_st_format::{Dtype, Layout, Shape};

use self::draft::Draft;
use crate::{classify::Kind, coding::Coding, companions::Companion, runtime::known, source::Source};

/// What the user asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlanOptions {
    /// The scheme to quantize to. `None` keeps floats as they are, and codes where a scheme of ours holds the same values; for 8-bit
    /// floats that none holds exactly, the policy says what becomes of them.
    pub scheme: Option<Scheme>,
    /// Which tensors get that scheme, another, or none.
    pub policy: Policy,
    /// Give every tensor that is quantized to nvfp4 a global scale, chosen from its largest weight. Not every consumer
    /// has a slot for one.
    pub global_scale: bool,
    /// Without a scheme: decode 8-bit floats rather than choose a scheme for them, and with [`Self::requantize`] packed codes,
    /// too.
    pub floats: bool,
    /// Decode codes that somebody has chosen already, and choose others: it loses twice.
    pub requantize: bool,
}

impl PlanOptions {
    /// Quantizes to `scheme`, if any, where `policy` says so.
    #[must_use]
    pub fn new(scheme: Option<Scheme>, policy: Policy) -> Self {
        Self { scheme, policy, global_scale: false, floats: false, requantize: false }
    }

    /// The same with [`floats`](Self::floats) as said.
    #[must_use]
    pub fn with_floats(self, floats: bool) -> Self {
        Self { floats, ..self }
    }

    /// The same with [`requantize`](Self::requantize) as said.
    #[must_use]
    pub fn with_requantize(self, requantize: bool) -> Self {
        Self { requantize, ..self }
    }

    /// The same with [`global_scale`](Self::global_scale) as said.
    #[must_use]
    pub fn with_global_scale(self, global_scale: bool) -> Self {
        Self { global_scale, ..self }
    }
}

/// What an import will write: every blob with its complete header, and how each tensor in it comes about.
///
/// A plan is a function of the [`Source`] and the [`PlanOptions`]: the same checkpoint gives the same plan wherever and
/// however its files lie. Executing it needs no further decision.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// How the source stores its weights.
    pub kind: Kind,
    /// What the model is, such as `Qwen3MoeForCausalLM`.
    pub architecture: Option<String>,
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
    source_bytes: u64,
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
    /// What happens to the values between the source and the store.
    pub transform: Transform,
    /// How the source stores them. Where this is [exactly](Coding::exact_scheme) the tensor's own scheme, codes are repacked;
    /// otherwise they are decoded first.
    pub coding: Coding,
    /// Indices into [`Source::tensors`]: the weights of all experts in order, then, where the coding has more, the scales of all, and so
    /// on.
    pub sources: Vec<usize>,
    /// What a float checkpoint calls the tensors that this is made from, in the order of the experts.
    pub names: Vec<String>,
    /// Which rule decided, for people.
    pub rule: Cow<'static, str>,
    source_len: u64,
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
        decide::float_type(self.dtype).expect("the plan quantizes floats and decodes to floats")
    }

    /// Index into [`Source::tensors`] of what plays `role` (0 for the weight, then in the coding's order) in one of
    /// [`Self::names`], if the source has it.
    pub(crate) fn source(&self, role: usize, unit: usize) -> Option<usize> {
        self.sources.get(role * self.names.len() + unit).copied()
    }

    /// What happens to the sources, in a word: `none`, `stack`, `transpose`; `decode` and `repack` for what is quantized in the
    /// source, `f32` for F64, with `_stack` where the experts are stacked, too.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        let is_stacked = self.transform == Transform::Stack;
        match (self.coding, is_stacked) {
            (Coding::Plain, true) => "stack",
            (Coding::Plain, false) if self.transform == Transform::Transpose => "transpose",
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
    /// Decides what an import of `source` writes. Reads nothing.
    ///
    /// Weights that the source has in 8-bit floats become what [`PlanOptions::scheme`] asks for; without a scheme, mxfp8 where
    /// that holds the same values, else int8 (mxfp8 under the policy `v0.32`). Packed codes are kept: a scheme that is asked for would be
    /// their second.
    ///
    /// # Errors
    ///
    /// - [`PlanError::Coding`]: weights are packed in a way that is not read;
    /// - [`PlanError::Requantize`]: a scheme is asked for, and the weights have one already;
    /// - [`PlanError::Experts`]: its experts cannot be stacked;
    /// - [`PlanError::Clash`], [`PlanError::Reserved`]: two things would have one name;
    /// - [`PlanError::Scheme`], [`PlanError::Layout`]: a tensor cannot be stored as decided.
    pub fn new(source: &Source, options: &PlanOptions) -> Result<Self, PlanError> {
        let mut warnings = source.warnings.clone();
        warnings.extend(source.config.as_ref().and_then(known::unknown));
        let mut drafts = Vec::new();
        for member in &source.members {
            drafts.extend(draft::blobs(member, source, options, &mut warnings)?);
        }
        check::names(&drafts, source)?;
        let blobs = drafts.into_iter().map(PlannedBlob::new).collect::<Result<_, _>>()?;
        Ok(Self {
            kind: source.kind,
            architecture: source.architecture().map(str::to_owned),
            scheme: options.scheme,
            policy: options.policy.name().to_owned(),
            blobs,
            files: source.companions.clone(),
            warnings,
            source_bytes: source.tensor_bytes(),
        })
    }

    /// Bytes of the tensors that are read, without headers.
    #[must_use]
    pub fn source_bytes(&self) -> u64 {
        self.source_bytes
    }

    /// Bytes of all blobs, headers included. Less is written where two blobs are equal or the store has one already.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.layout.file_len()).fold(0, u64::saturating_add)
    }
}

impl PlannedBlob {
    /// Bytes of the source tensors that it is made of.
    #[must_use]
    pub fn source_len(&self) -> u64 {
        self.tensors.iter().map(PlannedTensor::source_len).fold(0, u64::saturating_add)
    }

    fn new(draft: Draft) -> Result<Self, PlanError> {
        let scheme = draft.scheme();
        let name = draft.layer();
        let Draft { name: _, component, tensors } = draft;
        let metadata = match scheme {
            None => BTreeMap::new(),
            Some(scheme) => BTreeMap::from([
                ("quant_type".to_owned(), scheme.quant_type().to_owned()),
                ("group_size".to_owned(), scheme.group_size().to_string()),
            ]),
        };
        let mut parts = Vec::new();
        for tensor in &tensors {
            parts.extend(decide::parts(tensor)?);
        }
        match Layout::new(&metadata, parts) {
            Ok(layout) => Ok(Self { name, component, scheme, layout, tensors }),
            Err(source) => Err(PlanError::Layout { blob: name, source }),
        }
    }
}
