//! From a source's tensors to blobs that are not laid out yet.

use std::borrow::Cow;

use longshore_quant::Scheme;
use longshore_st_format::Shape;

use super::{PlanError, PlanOptions, PlannedTensor, Transform, decide::Decider};
use crate::{
    coding::{self, Coding, ModelTensor, ModelTensors},
    experts::{self, ExpertError, Grouping, Stack},
    source::{Member, Source, SourceTensor},
};

/// A blob that is not laid out yet. All its quantized tensors have the same scheme.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) component: Option<String>,
    pub(super) tensors: Vec<PlannedTensor>,
}

impl Draft {
    fn new(name: String, tensors: Vec<PlannedTensor>) -> Self {
        Self { name, component: None, tensors }
    }

    /// As one of a member's blobs, whose tensors come after `first` others of the source.
    fn of(mut self, member: &Member, first: usize) -> Self {
        self.name = member.stored_name(self.name);
        self.component = member.component().map(str::to_owned);
        for tensor in &mut self.tensors {
            tensor.name = member.stored_name(std::mem::take(&mut tensor.name));
            tensor.sources.iter_mut().for_each(|at| *at += first);
        }
        self
    }

    /// The name of its layer.
    pub(super) fn layer(&self) -> String {
        match &self.component {
            Some(component) => format!("{component}/{}", self.name),
            None => self.name.clone(),
        }
    }

    pub(super) fn scheme(&self) -> Option<Scheme> {
        self.tensors.iter().find_map(|tensor| tensor.scheme)
    }
}

/// The blobs of one member.
pub(super) fn blobs(
    member: &Member,
    source: &Source,
    options: &PlanOptions,
    warnings: &mut Vec<String>,
) -> Result<Vec<Draft>, PlanError> {
    let files = source.tensors_of(member);
    let ModelTensors { tensors, warnings: found } = match &member.stored {
        Some(stored) => coding::of_store(stored),
        None => coding::read(files, &member.exact_scales, member.config.as_ref())
            .map_err(|source| PlanError::Coding { member: member.name().map(str::to_owned), source })?,
    };
    warnings.extend(found);
    let is_ours = member.stored.as_ref().is_some_and(|stored| stored.is_ours);
    let transposed = !is_ours && member.config.as_ref().is_some_and(crate::ModelConfig::experts_are_transposed);
    let grouping = experts::group(&tensors, transposed)?;
    missing_experts(member, &grouping, &tensors)?;
    warnings.extend(unexpected_count(member, &grouping));
    warnings.extend(unknown_orientation(member, &tensors));

    let mut doubles = tensors.iter().filter(|tensor| tensor.coding == Coding::Double);
    if let Some(first) = doubles.next() {
        let count = 1 + doubles.count();
        warnings.push(format!("tensors of F64 become F32: {count} of them, the first is {}", first.name));
    }

    let planner = Planner { files, tensors: &tensors, decider: Decider::new(member, options) };
    let mut drafts = Vec::with_capacity(grouping.plain.len() + grouping.groups.len());
    for at in grouping.plain {
        let tensor = planner.plain(at)?;
        drafts.push(Draft::new(tensor.name.clone(), vec![tensor]));
    }
    for (name, stacks) in grouping.groups {
        drafts.extend(planner.group(name, stacks)?);
    }
    Ok(drafts.into_iter().map(|draft| draft.of(member, member.tensors.start)).collect())
}

/// Plans the tensors of one member.
struct Planner<'a> {
    files: &'a [SourceTensor],
    tensors: &'a [ModelTensor],
    decider: Decider<'a>,
}

impl Planner<'_> {
    fn plain(&self, at: usize) -> Result<PlannedTensor, PlanError> {
        let ModelTensor { name, dtype, shape, coding, .. } = &self.tensors[at];
        let stack = Stack {
            name: name.clone(),
            dtype: *dtype,
            shape: shape.clone(),
            transform: Transform::None,
            coding: *coding,
            tensors: vec![at],
            is_matrix: true,
        };
        let (scheme, rule) = self.decider.decide(&stack, false)?;
        Ok(self.tensor(stack, scheme, rule))
    }

    /// One blob for a group whose matrices all have the same scheme; else one for each of its tensors.
    fn group(&self, name: String, stacks: Vec<Stack>) -> Result<Vec<Draft>, PlanError> {
        let mut schemes = Vec::new();
        let mut tensors = Vec::with_capacity(stacks.len());
        for stack in stacks {
            let (scheme, rule) = if stack.is_matrix {
                let decision = self.decider.decide(&stack, true)?;
                schemes.push(decision.0);
                decision
            } else {
                (None, Cow::Borrowed("bias or vector of each expert: kept"))
            };
            tensors.push(self.tensor(stack, scheme, rule));
        }
        if schemes.windows(2).all(|pair| pair[0] == pair[1]) {
            return Ok(vec![Draft::new(name, tensors)]);
        }
        Ok(tensors.into_iter().map(|tensor| Draft::new(tensor.name.clone(), vec![tensor])).collect())
    }

    fn tensor(&self, stack: Stack, scheme: Option<Scheme>, rule: Cow<'static, str>) -> PlannedTensor {
        let Stack { name, dtype, shape, transform, coding, tensors, is_matrix: _ } = stack;
        let units: Vec<&ModelTensor> = tensors.iter().map(|at| &self.tensors[*at]).collect();
        let roles = units.first().map_or(0, |unit| unit.sources.len());
        let sources: Vec<usize> =
            (0..roles).flat_map(|role| units.iter().map(move |unit| unit.sources[role])).collect();
        let source_len = sources.iter().map(|at| self.files[*at].byte_len()).fold(0, u64::saturating_add);
        let mut tensor = PlannedTensor {
            name,
            dtype,
            shape,
            scheme,
            global_scale: None,
            transform,
            coding,
            sources,
            names: units.iter().map(|unit| unit.name.clone()).collect(),
            rule,
            source_len,
        };
        tensor.global_scale = self.global_scale(&tensor);
        tensor
    }

    fn global_scale(&self, tensor: &PlannedTensor) -> Option<Shape> {
        if tensor.scheme != Some(Scheme::NVFP4) {
            return None;
        }
        let stacked = || Shape::new([tensor.names.len() as u64, 1, 1]);
        let own = || if tensor.transform == Transform::Stack { stacked() } else { Shape::new([]) };
        if !tensor.is_repacked() {
            return self.decider.global_scale();
        }
        if !coding::has_global_scale(tensor) {
            return None;
        }
        // A stack of a store has one for each expert in one array.
        let found = tensor.source(coding::GLOBAL, 0).map(|at| &self.files[at].shape);
        found.filter(|shape| shape.elements() != Some(1)).cloned().or_else(|| Some(own()))
    }
}

/// Refuses a group that has fewer experts than the configuration says, where each has tensors of its own: the last are missing.
fn missing_experts(member: &Member, grouping: &Grouping, tensors: &[ModelTensor]) -> Result<(), PlanError> {
    let Some(expected) = member.config.as_ref().and_then(|config| config.experts) else { return Ok(()) };
    for (name, stacks) in &grouping.groups {
        let Some(stack) = stacks.iter().find(|stack| stack.transform == Transform::Stack) else { continue };
        let found = stack.tensors.len() as u64;
        if found < expected && found > 0 {
            let rest = stack.name.strip_prefix(name).unwrap_or_default();
            let last = tensors[stack.tensors[stack.tensors.len() - 1]].name.clone();
            let source = ExpertError::Missing { missing: format!("{name}.{found}{rest}"), found: last };
            return Err(PlanError::Experts { source });
        }
    }
    Ok(())
}

/// Says where a group has another number of experts than the configuration: the last ones may be missing.
fn unexpected_count(member: &Member, grouping: &Grouping) -> Option<String> {
    let expected = member.config.as_ref()?.experts?;
    let config = member.component().map_or_else(String::new, |component| format!("{component}/")) + "config.json";
    let experts = |stacks: &[Stack]| stacks.first()?.shape.dims().first().copied();
    grouping.groups.iter().find_map(|(name, stacks)| {
        let found = experts(stacks).filter(|found| *found != expected)?;
        Some(format!("{name} has {found} experts, but {config} says {expected}"))
    })
}

/// Says where nothing tells whether fused experts are `[experts, out, in]`, as they are taken to be.
fn unknown_orientation(member: &Member, tensors: &[ModelTensor]) -> Option<String> {
    if member.architecture().is_some() {
        return None;
    }
    let tensor =
        tensors.iter().find(|tensor| tensor.coding == Coding::Plain && experts::may_be_transposed(&tensor.name))?;
    Some(format!(
        "no configuration tells the architecture, so that {} and its like are taken as [experts, out, in]",
        tensor.name
    ))
}
