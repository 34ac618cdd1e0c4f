//! Selection of tensors from a table, with the bytes of each tensor.

use std::collections::HashSet;

use longshore_model::experts::{ExpertName, ExpertNaming};
use longshore_st_format::{Dtype, Shape};

use super::{
    Cast, Extent, LoadPlanError, Origin, PartView, Selection, Shard, ShardAxis, TensorParallel, View,
    glob::{Glob, GlobMatcher, GlobSet, GlobSetBuilder},
    near::near,
    selection::{expert, layers_of},
    shard::{Body, ShareProblem},
};
use crate::{
    Digest,
    document::{Arrangement, Part, Role, TensorEntry, TensorTable},
};

/// Selected tensors of one blob of the table.
pub(in super::super) struct Selected {
    /// Index into the table's blobs.
    pub(super) blob: usize,
    pub(in super::super) tensors: Vec<SelectedTensor>,
}

/// A selected tensor. The parts of its view are made at the end, from `parts`.
pub(in super::super) struct SelectedTensor {
    pub(in super::super) view: View,
    pub(in super::super) parts: Vec<SelectedPart>,
}

/// A selected part of a tensor.
pub(in super::super) struct SelectedPart {
    role: Role,
    dtype: Dtype,
    shape: Shape,
    /// Blob that holds the part.
    pub(super) digest: Digest,
    pub(super) extents: Vec<Extent>,
    /// Length in bytes, after any cast.
    pub(super) len: u64,
    pub(super) cast: Option<Cast>,
    pub(super) arena: Option<u64>,
}

/// A selection with compiled globs.
struct Chooser<'s> {
    selection: &'s Selection,
    names: HashSet<&'s str>,
    globs: GlobSet,
    shards: Vec<(GlobMatcher, Shard)>,
    /// Number of the model's experts, if known.
    experts: Option<u64>,
    /// How names are parsed for experts.
    naming: ExpertNaming,
}

pub(in super::super) fn select(table: &TensorTable, selection: &Selection) -> Result<Vec<Selected>, LoadPlanError> {
    let chooser = Chooser::new(table, selection)?;
    let mut selected = Vec::new();
    let (mut missing, mut has_stacks, mut experts) = (chooser.names.clone(), false, HashSet::new());
    // One share is the whole, whatever the names.
    let share = selection.tensor_parallel.filter(|share| share.of > 1);
    let mut has_shares = false;
    for (blob, entry) in table.blobs.iter().enumerate() {
        if selection.component.is_some() && selection.component != entry.component {
            continue;
        }
        let mut tensors = Vec::new();
        for tensor in &entry.tensors {
            has_stacks |= chooser.is_stack(tensor);
            has_shares |= share.is_some_and(|share| share.shard_of(&tensor.name).is_some());
            experts.extend(expert(chooser.naming, &tensor.name));
            missing.remove(tensor.name.as_str());
            if chooser.wants(&tensor.name) {
                if tensor.offset != 0 && !selection.offsets {
                    return Err(LoadPlanError::Offset { tensor: tensor.name.clone(), offset: tensor.offset });
                }
                tensors.push(chooser.take(entry.digest, tensor, entry.component.clone())?);
            }
        }
        if !tensors.is_empty() {
            selected.push(Selected { blob, tensors });
        }
    }
    if let Some(name) = selection.names.iter().find(|name| missing.contains(name.as_str())) {
        let near = near(&[name.as_str()], names(table));
        return Err(LoadPlanError::UnknownTensor { name: name.clone(), near });
    }
    if let Some(wanted) = selection.experts.as_ref().filter(|_| !has_stacks) {
        if experts.is_empty() {
            return Err(LoadPlanError::NoExperts);
        }
        if let Some(expert) = wanted.iter().find(|expert| !experts.contains(expert)) {
            return Err(LoadPlanError::UnknownExpert { expert: *expert });
        }
    }
    if let Some(TensorParallel { of, .. }) = share.filter(|_| !has_shares && names(table).next().is_some()) {
        return Err(LoadPlanError::NoShares { of });
    }
    if selected.is_empty() && names(table).next().is_some() {
        let wanted: Vec<_> = selection.globs.iter().map(String::as_str).collect();
        let layers = selection.layers.as_ref().map(|layers| layers.range.clone());
        let found = if layers.is_some() { layers_of(names(table)) } else { None };
        let near = near(&wanted, names(table));
        return Err(LoadPlanError::NoMatch { globs: selection.globs.clone(), layers, found, near });
    }
    Ok(selected)
}

fn names(table: &TensorTable) -> impl Iterator<Item = &str> {
    table.tensors().map(|(_, tensor)| tensor.name.as_str())
}

impl<'s> Chooser<'s> {
    fn new(table: &TensorTable, selection: &'s Selection) -> Result<Self, LoadPlanError> {
        if let Some(component) = &selection.component {
            let mut found: Vec<_> = table.blobs.iter().filter_map(|blob| blob.component.clone()).collect();
            found.sort_unstable();
            found.dedup();
            if !found.contains(component) {
                return Err(LoadPlanError::Component { component: component.clone(), found });
            }
        }
        let glob = |pattern: &str| {
            Glob::new(pattern)
                .map_err(|error| LoadPlanError::Glob { pattern: pattern.into(), reason: error.to_string() })
        };
        let mut globs = GlobSetBuilder::new();
        for pattern in &selection.globs {
            globs.add(glob(pattern)?);
        }
        let globs = globs.build().map_err(|error| LoadPlanError::Glob {
            pattern: error.glob().unwrap_or_default().to_owned(),
            reason: error.to_string(),
        })?;
        let mut shards = Vec::new();
        for (pattern, shard) in &selection.shards {
            if shard.rank >= shard.of {
                return Err(LoadPlanError::Rank { pattern: pattern.clone(), rank: shard.rank, of: shard.of });
            }
            shards.push((glob(pattern)?.compile_matcher(), *shard));
        }
        if let Some(TensorParallel { rank, of }) = selection.tensor_parallel
            && rank >= of
        {
            return Err(LoadPlanError::Rank { pattern: "*".into(), rank, of });
        }
        let mut seen = HashSet::new();
        if let Some(expert) = selection.experts.iter().flatten().find(|expert| !seen.insert(**expert)) {
            return Err(LoadPlanError::ExpertTwice { expert: *expert });
        }
        let names = selection.names.iter().map(String::as_str).collect();
        Ok(Self { selection, names, globs, shards, experts: table.facts.experts, naming: table.facts.expert_naming() })
    }

    fn wants(&self, name: &str) -> bool {
        let Selection { names, globs, layers, experts, .. } = self.selection;
        let is_named = names.is_empty() && globs.is_empty() || self.names.contains(name) || self.globs.is_match(name);
        let of_experts = || match (experts, expert(self.naming, name)) {
            (Some(experts), Some(expert)) => experts.contains(&expert),
            _ => true,
        };
        is_named && layers.as_ref().is_none_or(|layers| layers.contains(name)) && of_experts()
    }

    /// Whether the first axis of `tensor` counts the experts of a layer.
    fn is_stack(&self, tensor: &TensorEntry) -> bool {
        let counts = || tensor.shape.dims().first().is_some_and(|first| self.experts == Some(*first));
        let of_experts = || matches!((self.naming)(&tensor.name), ExpertName::Fused { .. });
        tensor.shape.rank() > 1 && (tensor.arrangement == Arrangement::Stack || counts() && of_experts())
    }

    /// Selects the requested share of `tensor`, which lies in `blob`.
    fn take(
        &self,
        blob: Digest,
        tensor: &TensorEntry,
        component: Option<String>,
    ) -> Result<SelectedTensor, LoadPlanError> {
        let is_stack = self.is_stack(tensor);
        let experts = self.selection.experts.as_deref().filter(|_| is_stack);
        let count = tensor.shape.dims().first().copied().unwrap_or_default();
        if let Some(expert) = experts.into_iter().flatten().find(|expert| **expert >= count) {
            return Err(LoadPlanError::Expert { tensor: tensor.name.clone(), expert: *expert, experts: count });
        }
        let rule = self.shards.iter().find(|(glob, _)| glob.is_match(&tensor.name)).map(|(_, shard)| *shard);
        let shard = rule.or_else(|| self.selection.tensor_parallel?.shard_of(&tensor.name));
        let fail = |problem, shape: &Shape| LoadPlanError::of_share(problem, tensor, shape, shard);
        let body = |shape, bits, offset| Body { dims: Shape::dims(shape), is_stack, bits, offset };

        // Computes the logical shape of the share. Elements count as one byte each here, because only the shape is
        // used.
        let (_, shape) =
            body(&tensor.shape, 8, 0).take(experts, shard).map_err(|problem| fail(problem, &tensor.shape))?;
        let group = tensor.quantization.as_ref().map_or(1, |found| u64::from(found.group_size));
        if shard.is_some_and(|shard| shard.axis == ShardAxis::Columns)
            && shape.last().is_some_and(|columns| !columns.is_multiple_of(group))
        {
            return Err(fail(ShareProblem::Uneven, &tensor.shape));
        }

        let mut parts = Vec::with_capacity(tensor.parts.len());
        for part in &tensor.parts {
            let fail = |problem| fail(problem, &part.shape);
            let (extents, shape) = if part.role == Role::GlobalScale {
                take_global_scale(part, experts, count).map_err(fail)?
            } else {
                body(&part.shape, u64::from(part.dtype.bits()), part.offset).take(experts, shard).map_err(fail)?
            };
            let end = part.offset.saturating_add(part.length);
            if extents.iter().any(|extent| extent.end() > end) {
                return Err(LoadPlanError::Part { tensor: tensor.name.clone(), role: part.role });
            }
            let len = extents.iter().map(Extent::len).try_fold(0_u64, u64::checked_add);
            let len = len.ok_or_else(|| fail(ShareProblem::TooLarge))?;
            parts.push(SelectedPart {
                role: part.role,
                dtype: part.dtype,
                shape: shape.into(),
                digest: part.blob.unwrap_or(blob),
                extents,
                len,
                cast: None,
                arena: None,
            });
        }
        let view = View {
            name: tensor.name.clone(),
            component,
            dtype: tensor.dtype,
            shape: shape.into(),
            quantization: tensor.quantization.clone(),
            offset: tensor.offset,
            parts: Vec::new(),
        };
        Ok(SelectedTensor { view, parts })
    }
}

/// Selects a global scale. A single scale belongs to every share; a stack may have one scale per expert instead.
fn take_global_scale(
    part: &Part,
    experts: Option<&[u64]>,
    count: u64,
) -> Result<(Vec<Extent>, Vec<u64>), ShareProblem> {
    let of_each = part.shape.dims().first() == Some(&count) && part.shape.rank() > 1;
    let bits = u64::from(part.dtype.bits());
    let body = Body { dims: part.shape.dims(), is_stack: of_each, bits, offset: part.offset };
    body.take(experts.filter(|_| of_each), None)
}

impl SelectedPart {
    /// Casts the float values of a plain tensor to the type `to`. Parts of quantized tensors, integers and booleans stay
    /// unchanged.
    pub(in super::super) fn cast_to(&mut self, to: Dtype, view: &View) -> Result<(), LoadPlanError> {
        let from = self.dtype;
        let stays = matches!(
            from,
            Dtype::Bool
                | Dtype::U8
                | Dtype::I8
                | Dtype::U16
                | Dtype::I16
                | Dtype::U32
                | Dtype::I32
                | Dtype::U64
                | Dtype::I64
        );
        if view.quantization.is_some() || from == to || stays {
            return Ok(());
        }
        if !matches!(from, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(LoadPlanError::Convert { tensor: view.name.clone(), found: from, to });
        }
        let cast = Cast { from, to };
        let (before, after) = cast.widths();
        // A cast from two bytes to four could overflow in theory only, as lengths in a table are below 2^63.
        if let Some(len) = (self.len / before).checked_mul(after) {
            (self.dtype, self.len, self.cast) = (to, len, Some(cast));
        }
        Ok(())
    }

    pub(super) fn origin(&self) -> Origin {
        Origin { digest: self.digest, extents: self.extents.clone().into(), cast: self.cast }
    }

    fn finish(self) -> PartView {
        let Self { role, dtype, shape, digest, extents, len, cast, arena } = self;
        PartView { role, dtype, shape, len, origin: Origin { digest, extents: extents.into(), cast }, arena }
    }
}

impl SelectedTensor {
    pub(in super::super) fn finish(self) -> View {
        let Self { mut view, parts } = self;
        view.parts = parts.into_iter().map(SelectedPart::finish).collect();
        if let [part] = &view.parts[..]
            && view.quantization.is_none()
        {
            view.dtype = part.dtype;
        }
        view
    }
}
