//! Distribution of a model's tensors over blobs, and the layout of each blob.

use std::{borrow::Cow, collections::BTreeMap};

use longshore_manifest::document::{Arrangement, Change, Quantization, Role};
use longshore_model::{
    Facts, ModelConfig,
    experts::{ExpertError, may_be_transposed},
};
use longshore_quant::{Part, Scheme};
use longshore_st_format::{Dtype, Layout, Shape};

use super::{
    decide::Decider,
    draft::Draft,
    error::PlanError,
    gguf,
    options::PlanOptions,
    planned::{PlannedBlob, PlannedTensor, Unit, float_type, quantized_from},
    rotate,
};
use crate::{
    model::{
        coding::{kind::Coding, read},
        experts::stack::{Stack, Stacks, stack},
        tensor::{ModelTensor, ModelTensors},
    },
    source::{checkpoint::Source, classify::Kind, inventory::Contents, member::Member},
    tensor::SourceTensor,
};

/// Plans the blobs of one member.
pub(super) fn blobs(
    member: &Member,
    source: &Source,
    options: &PlanOptions,
    warnings: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> Result<Vec<Draft>, PlanError> {
    let files = source.tensors_of(member);
    let ModelTensors { mut tensors, warnings: found, notes: remarks } = read::read(member, files)
        .map_err(|source| PlanError::Coding { member: member.name().map(str::to_owned), source })?;
    if !member.is_draft() {
        rotate::untie(source, &mut tensors);
    }
    warnings.extend(found);
    notes.extend(remarks);
    if source.kind == Kind::Gguf {
        if let Contents::Gguf(gguf) = &member.contents {
            notes.extend(gguf.names.notes.iter().cloned());
        }
        let drafts = gguf::drafts(member, files, &tensors, options)?;
        return Ok(drafts.into_iter().map(|draft| draft.of(member, member.tensors.start)).collect());
    }
    if let Some(config) = &member.config {
        let shapes = tensors.iter().map(|tensor| (tensor.name.as_str(), &tensor.shape));
        let member = member.name().map(str::to_owned);
        config.check_shapes(shapes).map_err(|source| PlanError::Contradiction { member, source: Box::new(source) })?;
    }
    let is_ours = member.stored().is_some_and(|stored| stored.is_ours);
    let transposed = !is_ours && member.config.as_ref().is_some_and(ModelConfig::experts_are_transposed);
    let naming =
        member.config.as_ref().map_or_else(|| Facts::default().expert_naming(), |config| config.expert_naming());
    let stacks = match source.base {
        None => stack(&tensors, naming, transposed)?,
        // The tensors of an adapter stay as they are, whatever their names.
        Some(_) => Stacks { plain: (0..tensors.len()).collect(), ..Stacks::default() },
    };
    missing_experts(member, &stacks, &tensors)?;
    warnings.extend(unexpected_count(member, &stacks));
    warnings.extend(unknown_orientation(member, &tensors));

    let planner = Planner { files, tensors: &tensors, decider: Decider::new(member, options) };
    let mut drafts = Vec::with_capacity(stacks.plain.len() + stacks.groups.len());
    for at in stacks.plain {
        let tensor = planner.plain(at)?;
        drafts.push(Draft::new(tensor.name.clone(), vec![tensor]));
    }
    for (name, stacks) in stacks.groups {
        drafts.extend(planner.group(name, stacks)?);
    }
    let made = drafts.iter().flat_map(|draft| &draft.tensors);
    let mut doubles = made.filter(|tensor| tensor.coding == Coding::Double);
    if let Some(first) = doubles.next() {
        let count = 1 + doubles.count();
        let (what, first) = ("tensors of F64 are rounded to F32 to be quantized", &first.name);
        warnings.push(format!("{what}: {count} of them, the first is {first}"));
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
            arrangement: Arrangement::None,
            coding: *coding,
            tensors: vec![at],
            is_matrix: true,
        };
        let (scheme, rule) = self.decider.decide(&stack, false)?;
        Ok(self.tensor(stack, scheme, rule))
    }

    /// Makes one blob of a group if all of its matrices have the same scheme, else one blob for each of its tensors.
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
        let Stack { name, dtype, shape, arrangement, coding, tensors, is_matrix: _ } = stack;
        let units = tensors.iter().map(|at| &self.tensors[*at]);
        let units: Vec<Unit> = units.map(|unit| Unit { name: unit.name.clone(), parts: unit.parts }).collect();
        let sources = units.iter().flat_map(|unit| unit.parts.iter());
        let source_len = sources.map(|(_, at)| self.files[at].byte_len()).fold(0, u64::saturating_add);
        let (dtype, coding) = match coding {
            Coding::Plain if scheme.is_some() && dtype == Dtype::F64 => (quantized_from(dtype), Coding::Double),
            _ => (dtype, coding),
        };
        let mut tensor = PlannedTensor {
            name,
            dtype,
            shape,
            scheme,
            global_scale: None,
            arrangement,
            change: Change::None,
            ulps: Vec::new(),
            offset: 0,
            coding,
            units,
            rule,
            source_len,
            merges: Vec::new(),
            replaced: None,
            turn: None,
            factors: None,
        };
        tensor.global_scale = self.global_scale(&tensor);
        tensor
    }

    fn global_scale(&self, tensor: &PlannedTensor) -> Option<Shape> {
        if tensor.scheme != Some(Scheme::NVFP4) {
            return None;
        }
        let stacked = || Shape::new([tensor.units.len() as u64, 1, 1]);
        let own = || if tensor.arrangement == Arrangement::Stack { stacked() } else { Shape::new([]) };
        if !tensor.is_repacked() {
            return self.decider.global_scale();
        }
        if !tensor.has_global_scale() {
            return None;
        }
        // A stack in a store has the global scales of all experts in one array.
        let found = tensor.units[0].parts.global_scale.map(|at| &self.files[at].shape);
        found.filter(|shape| shape.elements() != Some(1)).cloned().or_else(|| Some(own()))
    }
}

/// Refuses a group with fewer experts than the configuration says, if each expert has its own tensors: the last experts
/// are missing.
fn missing_experts(member: &Member, stacks: &Stacks, tensors: &[ModelTensor]) -> Result<(), PlanError> {
    let Some(expected) = member.config.as_ref().and_then(|config| config.experts) else { return Ok(()) };
    for (name, group) in &stacks.groups {
        let Some(stack) = group.iter().find(|stack| stack.arrangement == Arrangement::Stack) else { continue };
        let found = stack.tensors.len() as u64;
        if found < expected && found > 0 {
            let rest = stack.name.strip_prefix(name).unwrap_or_default();
            let last = tensors[stack.tensors[stack.tensors.len() - 1]].name.clone();
            let source = ExpertError::Missing { missing: format!("{name}.{found}{rest}"), found: last };
            return Err(PlanError::Experts { source: source.into() });
        }
    }
    Ok(())
}

/// Warns if a group has another number of experts than the configuration says, because experts may be missing.
fn unexpected_count(member: &Member, stacks: &Stacks) -> Option<String> {
    let expected = member.config.as_ref()?.experts?;
    let config = member.component().map_or_else(String::new, |component| format!("{component}/")) + "config.json";
    let experts = |stacks: &[Stack]| stacks.first()?.shape.dims().first().copied();
    stacks.groups.iter().find_map(|(name, stacks)| {
        let found = experts(stacks).filter(|found| *found != expected)?;
        Some(format!("{name} has {found} experts, but {config} says {expected}"))
    })
}

/// Warns if fused experts are taken as `[experts, out, in]` because the architecture is unknown.
fn unknown_orientation(member: &Member, tensors: &[ModelTensor]) -> Option<String> {
    if member.architecture().is_some() {
        return None;
    }
    let tensor = tensors.iter().find(|tensor| tensor.coding == Coding::Plain && may_be_transposed(&tensor.name))?;
    Some(format!(
        "no configuration names the architecture: {} and similar tensors are taken as [experts, out, in]",
        tensor.name
    ))
}

/// Assigns each part of a blob its place in the file.
pub(super) fn lay_out(draft: Draft) -> Result<PlannedBlob, PlanError> {
    let scheme = draft.scheme();
    let name = draft.layer();
    let Draft { name: _, component, tensors } = draft;
    let coding = tensors.iter().find_map(PlannedTensor::quantization).map(|Quantization { quant_type, group_size }| {
        [("quant_type".to_owned(), quant_type), ("group_size".to_owned(), group_size.to_string())]
    });
    let metadata: BTreeMap<_, _> = coding.into_iter().flatten().collect();
    let mut parts = Vec::new();
    for tensor in &tensors {
        parts.extend(stored_parts(tensor)?);
    }
    match Layout::new(&metadata, parts) {
        Ok(layout) => Ok(PlannedBlob { name, component, scheme, layout, tensors }),
        Err(source) => Err(PlanError::Layout { blob: name, source }),
    }
}

/// The parts that a tensor is stored as: the tensor itself, or its packed codes and their companions.
fn stored_parts(tensor: &PlannedTensor) -> Result<Vec<(String, Dtype, Shape)>, PlanError> {
    let plain = || (tensor.name.clone(), tensor.dtype, tensor.shape.clone());
    if let (Coding::Ggml { blocks }, None) = (tensor.coding, tensor.scheme) {
        let shape = blocks.shape(&tensor.shape).expect("the source was checked: blocks fill rows");
        return Ok(vec![(tensor.name.clone(), Dtype::U8, shape)]);
    }
    let (Some(scheme), Some(float)) = (tensor.scheme, float_type(tensor.dtype)) else { return Ok(vec![plain()]) };
    let parts = scheme
        .parts(float, tensor.shape.dims())
        .map_err(|source| PlanError::Scheme { tensor: tensor.name.clone(), source })?;
    let name = |role: Role| format!("{}{}", tensor.name, role.suffix());
    let stored = |(role, part): (Role, Option<Part>)| {
        let part = part?;
        let dtype = part.kind.dtype().parse().expect("parts have the names of safetensors dtypes");
        Some((name(role), dtype, Shape::from(part.shape)))
    };
    let coded = [(Role::Weight, Some(parts.weight)), (Role::Scale, Some(parts.scale)), (Role::Bias, parts.bias)];
    let global = tensor.global_scale.clone().map(|shape| (name(Role::GlobalScale), Dtype::F32, shape));
    Ok(coded.into_iter().filter_map(stored).chain(global).collect())
}
