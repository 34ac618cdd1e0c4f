//! Every decision of an import, made from headers and configuration alone.

mod check;
mod decide;
mod error;

use std::{borrow::Cow, collections::BTreeMap};

pub use error::PlanError;
pub use longshore_manifest::document::Transform;
use longshore_quant::{Scheme, policy::Policy};
use longshore_st_format::{Dtype, Layout, Shape};

use self::decide::Decider;
use crate::{
    classify::Kind,
    companions::Companion,
    experts::{self, Grouping, Stack},
    runtime::known,
    source::{Member, Source, SourceTensor},
};

/// What the user asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlanOptions {
    /// The scheme to quantize to. `None` keeps every tensor as it is.
    pub scheme: Option<Scheme>,
    /// Which tensors get that scheme, another, or none.
    pub policy: Policy,
}

impl PlanOptions {
    /// Quantizes to `scheme`, if any, where `policy` says so.
    #[must_use]
    pub fn new(scheme: Option<Scheme>, policy: Policy) -> Self {
        Self { scheme, policy }
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
    /// The type of the elements that it is made from.
    pub dtype: Dtype,
    /// Its logical extents, after the transform and before packing: `[experts, out, in]` for a stacked projection.
    pub shape: Shape,
    /// What it is quantized to. `None` keeps the source's bytes.
    pub scheme: Option<Scheme>,
    /// What happens to the sources before quantization.
    pub transform: Transform,
    /// Indices into [`Source::tensors`], in the order of the experts.
    pub sources: Vec<usize>,
    /// Which rule decided, for people.
    pub rule: Cow<'static, str>,
}

impl PlannedTensor {
    /// Bytes of the source tensors that it is made of.
    #[must_use]
    pub fn source_len(&self) -> u64 {
        // Transforms move bytes and neither add nor drop any, so that what was read from files has a length.
        self.shape.byte_len(self.dtype).unwrap_or(u64::MAX)
    }
}

impl Plan {
    /// Decides what an import of `source` writes. Reads nothing.
    ///
    /// # Errors
    ///
    /// - [`PlanError::Unsupported`]: the source, or a member of it, is not a float checkpoint;
    /// - [`PlanError::Experts`]: its experts cannot be stacked;
    /// - [`PlanError::Clash`], [`PlanError::Reserved`]: two things would have one name;
    /// - [`PlanError::Scheme`], [`PlanError::Layout`]: a tensor cannot be stored as decided.
    pub fn new(source: &Source, options: &PlanOptions) -> Result<Self, PlanError> {
        let mut warnings = source.warnings.clone();
        warnings.extend(source.config.as_ref().and_then(known::unknown));
        let mut drafts = Vec::new();
        for member in &source.members {
            drafts.extend(blobs_of(member, source, options, &mut warnings)?);
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

/// A blob that is not laid out yet. All its quantized tensors have the same scheme.
struct Draft {
    name: String,
    component: Option<String>,
    tensors: Vec<PlannedTensor>,
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
    fn layer(&self) -> String {
        match &self.component {
            Some(component) => format!("{component}/{}", self.name),
            None => self.name.clone(),
        }
    }

    fn scheme(&self) -> Option<Scheme> {
        self.tensors.iter().find_map(|tensor| tensor.scheme)
    }
}

/// The blobs of one member.
fn blobs_of(
    member: &Member,
    source: &Source,
    options: &PlanOptions,
    warnings: &mut Vec<String>,
) -> Result<Vec<Draft>, PlanError> {
    if member.kind != Kind::Float {
        return Err(PlanError::unsupported(member));
    }
    let tensors = source.tensors_of(member);
    let transposed = member.config.as_ref().is_some_and(crate::ModelConfig::experts_are_transposed);
    let grouping = experts::group(tensors, transposed)?;
    warnings.extend(unexpected_count(member, &grouping));
    warnings.extend(unknown_orientation(member, tensors));

    let decider = Decider::new(member, options);
    let mut drafts = Vec::with_capacity(grouping.plain.len() + grouping.groups.len());
    for at in grouping.plain {
        let tensor = plain(&tensors[at], at, &decider);
        drafts.push(Draft::new(tensor.name.clone(), vec![tensor]));
    }
    for (name, stacks) in grouping.groups {
        drafts.extend(group(name, stacks, &decider));
    }
    Ok(drafts.into_iter().map(|draft| draft.of(member, member.tensors.start)).collect())
}

fn plain(tensor: &SourceTensor, at: usize, decider: &Decider<'_>) -> PlannedTensor {
    let (scheme, rule) = decider.decide(&tensor.name, tensor.dtype, &tensor.shape, false);
    PlannedTensor {
        name: tensor.name.clone(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
        scheme,
        transform: Transform::None,
        sources: vec![at],
        rule,
    }
}

/// One blob for a group whose matrices all have the same scheme; else one for each of its tensors.
fn group(name: String, stacks: Vec<Stack>, decider: &Decider<'_>) -> Vec<Draft> {
    let mut schemes = Vec::new();
    let mut tensors = Vec::with_capacity(stacks.len());
    for stack in stacks {
        let (scheme, rule) = if stack.is_matrix {
            let decision = decider.decide(&stack.name, stack.dtype, &stack.shape, true);
            schemes.push(decision.0);
            decision
        } else {
            (None, Cow::Borrowed("bias or vector of each expert: kept"))
        };
        let Stack { name, dtype, shape, transform, sources, is_matrix: _ } = stack;
        tensors.push(PlannedTensor { name, dtype, shape, scheme, transform, sources, rule });
    }
    if schemes.windows(2).all(|pair| pair[0] == pair[1]) {
        return vec![Draft::new(name, tensors)];
    }
    tensors.into_iter().map(|tensor| Draft::new(tensor.name.clone(), vec![tensor])).collect()
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
fn unknown_orientation(member: &Member, tensors: &[SourceTensor]) -> Option<String> {
    if member.architecture().is_some() {
        return None;
    }
    let tensor = tensors.iter().find(|tensor| experts::may_be_transposed(&tensor.name))?;
    Some(format!(
        "no configuration tells the architecture, so that {} and its like are taken as [experts, out, in]",
        tensor.name
    ))
}
