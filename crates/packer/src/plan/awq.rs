//! Factors of columns by what these are multiplied with, as AWQ has them: which tensors of a plan take them over.
//!
//! A column is multiplied by a factor, and what makes its input is divided by it: the gain of a norm, rows of the values for the
//! output of attention, rows of the up projection for the down projection. The model computes the same but for rounding.

use std::{collections::BTreeMap, sync::Arc};

use longshore_manifest::document::Arrangement;
use longshore_model::Facts;
use longshore_transform::channels;

use super::{
    adapt::is_decoded,
    draft::Draft,
    error::PlanError,
    options::{Awq, PlanOptions},
    planned::{PlannedTensor, float_type},
};
use crate::source::{checkpoint::Source, classify::Kind};

/// Architectures whose tensors of a layer are all known, each with the norm that stands before its feed-forward part.
const ARCHITECTURES: [(&str, &str); 10] = [
    ("Gemma2ForCausalLM", "pre_feedforward_layernorm.weight"),
    ("Gemma3ForCausalLM", "pre_feedforward_layernorm.weight"),
    ("LlamaForCausalLM", "post_attention_layernorm.weight"),
    ("MistralForCausalLM", "post_attention_layernorm.weight"),
    ("MixtralForCausalLM", "post_attention_layernorm.weight"),
    ("Phi3ForCausalLM", "post_attention_layernorm.weight"),
    ("Qwen2ForCausalLM", "post_attention_layernorm.weight"),
    ("Qwen3ForCausalLM", "post_attention_layernorm.weight"),
    ("Qwen3MoeForCausalLM", "post_attention_layernorm.weight"),
    ("SmolLM3ForCausalLM", "post_attention_layernorm.weight"),
];
const FIRST: &str = "input_layernorm.weight";
const VALUES: &str = "self_attn.v_proj";
/// Queries, keys and values in one matrix.
const FUSED: &str = "self_attn.qkv_proj";
const OUTPUT: &str = "self_attn.o_proj";

/// Weights that read what the first norm of a layer makes, and those that read what the second makes.
const OF_FIRST: [&str; 4] = ["self_attn.q_proj", "self_attn.k_proj", VALUES, FUSED];
const OF_SECOND: [&str; 9] = [
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.gate_up_proj",
    "mlp.gate",
    "mlp.experts.gate_proj",
    "mlp.experts.up_proj",
    "block_sparse_moe.gate",
    "block_sparse_moe.experts.w1",
    "block_sparse_moe.experts.w3",
];
/// The same where experts are stored as one parameter, without `.weight`.
const OF_SECOND_STACKED: &str = "mlp.experts.gate_up_proj";

/// Weights that make inputs of another, whether they do in the later half of their rows, and that other.
const INNER: [(&str, bool, &str); 5] = [
    ("mlp.up_proj", false, "mlp.down_proj"),
    ("mlp.gate_up_proj", true, "mlp.down_proj"),
    ("mlp.experts.up_proj", false, "mlp.experts.down_proj"),
    ("mlp.experts.gate_up_proj", true, "mlp.experts.down_proj"),
    ("block_sparse_moe.experts.w3", false, "block_sparse_moe.experts.w2"),
];
/// Other tensors of a layer. None of them reads or makes what a factor belongs to.
const OTHERS: [&str; 4] =
    ["self_attn.q_norm", "self_attn.k_norm", "post_feedforward_layernorm", "self_attn.rotary_emb.inv_freq"];

/// Gives tensors of `drafts` the factors that the options ask for. Returns notes for the user.
pub(super) fn scale(
    source: &Source,
    options: &PlanOptions,
    drafts: &mut [Draft],
    warnings: &mut Vec<String>,
) -> Result<Option<String>, PlanError> {
    let Some(awq) = &options.awq else { return Ok(None) };
    let refuse = |problem: String| PlanError::Awq { problem, hint: None };
    if !(0.0..=1.0).contains(&awq.power) {
        return Err(refuse(format!("the power is {}, expected a number from 0 to 1", awq.power)));
    }
    if source.kind == Kind::Gguf {
        return Err(refuse("the source is in GGUF, expected a checkpoint".into()));
    }
    if source.kind == Kind::Pipeline || source.base.is_some() {
        return Err(refuse("the source is a pipeline or an adapter, expected a language model".into()));
    }
    let member = source.members.iter().find(|member| !member.is_draft());
    if source.rotation.is_some() {
        return Err(refuse("the residual stream is rotated in the same import".into()));
    }
    if source.changes.as_ref().is_some_and(|changes| changes.awq.is_some()) {
        return Err(refuse("the columns of the source have such factors already".into()));
    }
    let config = member
        .and_then(|member| member.config.as_ref())
        .ok_or_else(|| refuse("the source has no config.json".into()))?;
    let architecture = config.architecture.as_deref().unwrap_or_default();
    let Some((_, second)) = ARCHITECTURES.iter().find(|(name, _)| *name == architecture) else {
        let known = ARCHITECTURES.map(|(name, _)| name).join(", ");
        return Err(refuse(format!(
            "where factors of columns can go is not known for {architecture:?}, expected one of {known}"
        )));
    };
    let facts = config.facts();
    let mut layers = BTreeMap::<u64, Layer<'_>>::new();
    for planned in drafts.iter_mut().flat_map(|draft| &mut draft.tensors) {
        let in_layer = planned.name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
        let Some((Ok(number), rest)) = in_layer.map(|(number, rest)| (number.parse(), rest.to_owned())) else {
            continue;
        };
        layers.entry(number).or_insert_with(|| Layer::new(awq, options, second, &facts)).tensors.insert(rest, planned);
    }
    let (mut scaled, mut unknown) = (0, Vec::new());
    for layer in layers.values_mut() {
        layer.check(facts.hidden_size)?;
        layer.scale()?;
        scaled += layer.scaled;
        unknown.append(&mut layer.unknown);
    }
    match &*unknown {
        [] => {}
        [first, ..] => warnings.push(format!(
            "{}: the columns of {} weights get no factors, since the file has no statistics of them: {first:?} first",
            awq.statistics.path().display(),
            unknown.len(),
        )),
    }
    if scaled == 0 {
        return Err(refuse("no weight whose columns can have factors is quantized, and has statistics".into()));
    }
    Ok(Some(format!(
        "columns of {scaled} weights are multiplied by factors of their inputs, to the power {}",
        awq.power
    )))
}

/// The tensors of one layer, by the rest of their names.
struct Layer<'a> {
    awq: &'a Awq,
    options: &'a PlanOptions,
    /// Name of the second norm.
    second: &'static str,
    facts: &'a Facts,
    tensors: BTreeMap<String, &'a mut PlannedTensor>,
    /// Number of weights whose columns have got factors.
    scaled: usize,
    /// Weights without statistics.
    unknown: Vec<String>,
}

impl<'a> Layer<'a> {
    fn new(awq: &'a Awq, options: &'a PlanOptions, second: &'static str, facts: &'a Facts) -> Self {
        Self { awq, options, second, facts, tensors: BTreeMap::new(), scaled: 0, unknown: Vec::new() }
    }

    /// Refuses tensors that may read what a norm makes, and are not known.
    fn check(&self, hidden: Option<u64>) -> Result<(), PlanError> {
        let is_known = |rest: &str| {
            let module = rest.strip_suffix(".weight").or_else(|| rest.strip_suffix(".bias")).unwrap_or(rest);
            let inner = INNER.iter().flat_map(|(maker, _, reader)| [*maker, *reader]);
            let mut known = OF_FIRST.into_iter().chain(OF_SECOND).chain(OTHERS).chain(inner).chain([OUTPUT]);
            known.any(|name| name == module) || [FIRST, self.second, "post_attention_layernorm.weight"].contains(&rest)
        };
        match self.tensors.iter().find(|(rest, _)| !is_known(rest)) {
            Some((_, planned)) if planned.shape.dims().iter().any(|extent| Some(*extent) == hidden) => Err(in_the_way(
                planned,
                "is as wide as what norms make, and is none that is known to read it or not",
                None,
            )),
            _ => Ok(()),
        }
    }

    /// Gives all tensors of the layer their factors.
    fn scale(&mut self) -> Result<(), PlanError> {
        let second = self.second;
        for (norm, readers) in [(FIRST, &OF_FIRST[..]), (second, &OF_SECOND)] {
            let mut names: Vec<String> = readers.iter().map(|reader| format!("{reader}.weight")).collect();
            if norm == second {
                names.push(OF_SECOND_STACKED.to_owned());
            }
            names.retain(|name| self.tensors.contains_key(name));
            let Some(squares) = self.squares(&names, true)? else { continue };
            let factors = self.factors(&squares);
            self.divide(norm, 1, 0, &factors)?;
            self.multiply(&names, &factors)?;
        }
        self.attention()?;
        for (maker, is_later, reader) in INNER {
            let [maker, reader] = [maker, reader].map(|module| self.name_of(module));
            let (Some(maker), Some(reader)) = (maker, reader) else { continue };
            let Some(squares) = self.squares(std::slice::from_ref(&reader), false)? else { continue };
            // Each expert has inner channels of its own.
            let columns = self.columns(&reader);
            let factors: Vec<f32> = squares.chunks_exact(columns).flat_map(|squares| self.factors(squares)).collect();
            let matrices = factors.len() / columns;
            let first = if is_later { columns } else { 0 };
            self.divide(&maker, matrices, first, &factors)?;
            self.multiply(&[reader], &factors)?;
        }
        Ok(())
    }

    /// Factors of values: each head of them is read by as many heads of queries as share it.
    fn attention(&mut self) -> Result<(), PlanError> {
        let output = format!("{OUTPUT}.weight");
        let maker = [VALUES, FUSED].into_iter().find_map(|module| self.name_of(module));
        let (Some(maker), true) = (maker, self.tensors.contains_key(&output)) else { return Ok(()) };
        let Some(squares) = self.squares(std::slice::from_ref(&output), true)? else { return Ok(()) };
        let heads = self.facts.heads.and_then(|heads| usize::try_from(heads).ok()).unwrap_or_default();
        let groups = self.facts.kv_heads.and_then(|heads| usize::try_from(heads).ok()).unwrap_or(heads);
        let is_shared = groups > 0 && heads.is_multiple_of(groups) && squares.len().is_multiple_of(heads.max(1));
        if !is_shared {
            let planned = &self.tensors[&output];
            let problem =
                format!("has {} inputs, and config.json {heads} heads, {groups} of keys and values", squares.len());
            return Err(in_the_way(planned, problem, None));
        }
        let size = squares.len() / heads;
        let of_group = heads / groups * size;
        let shared: Vec<f32> = squares.chunks_exact(of_group).flat_map(|heads| channels::mean(heads, size)).collect();
        let factors = self.factors(&shared);
        let repeated = factors.chunks_exact(size).flat_map(|head| head.repeat(heads / groups)).collect::<Vec<_>>();
        let first = if maker.starts_with(FUSED) { (heads + groups) * size } else { 0 };
        self.divide(&maker, 1, first, &factors)?;
        self.multiply(&[output], &repeated)
    }

    fn factors(&self, squares: &[f32]) -> Vec<f32> {
        channels::factors(squares, self.awq.power)
    }

    /// The name of a module's weight, if the layer has it.
    fn name_of(&self, module: &str) -> Option<String> {
        [format!("{module}.weight"), module.to_owned()].into_iter().find(|name| self.tensors.contains_key(name))
    }

    fn columns(&self, name: &str) -> usize {
        let last = self.tensors[name].shape.dims().last().copied().unwrap_or_default();
        usize::try_from(last).unwrap_or_default().max(1)
    }

    /// The mean squares of the inputs of weights. `None` if there are no statistics, or if none of the weights is quantized anew.
    /// `[columns]` for one input that all share, else `[experts, columns]` for a stack whose experts have statistics each.
    fn squares(&mut self, names: &[String], is_shared: bool) -> Result<Option<Vec<f32>>, PlanError> {
        let tensors = || names.iter().map(|name| &*self.tensors[name]);
        if !tensors().any(|planned| planned.scheme.is_some() && is_decoded(planned, self.options)) {
            return Ok(None);
        }
        for planned in tensors() {
            let file = &self.awq.statistics;
            let found = file.of_weight(&planned.name, &planned.shape);
            let fail = |source| PlanError::AwqStatistics { source: Box::new(source) };
            let Some(found) = found.map_err(fail)? else { continue };
            // One input has one factor, whichever of the experts have seen it.
            return Ok(Some(if is_shared { channels::mean(&found.values, found.columns) } else { found.values }));
        }
        self.unknown.extend(names.iter().map(|name| self.tensors[name].name.clone()));
        Ok(None)
    }

    /// Multiplies the columns of weights.
    fn multiply(&mut self, names: &[String], factors: &[f32]) -> Result<(), PlanError> {
        let factors: Arc<[f32]> = factors.into();
        for name in names {
            let planned = self.tensors.get_mut(name).expect("the caller has found it");
            check(planned, self.options)?;
            let found = planned.factors.get_or_insert_default();
            found.columns = Some(Arc::clone(&factors));
            fits(planned)?;
            self.scaled += 1;
        }
        Ok(())
    }

    /// Divides the rows of a weight, from `first` on in each of its matrices, and the bias beside it; or the gain of a norm.
    fn divide(&mut self, name: &str, matrices: usize, first: usize, factors: &[f32]) -> Result<(), PlanError> {
        let adds_one = self.facts.norm.adds_one == Some(true);
        let bias =
            name.strip_suffix(".weight").map_or_else(|| format!("{name}_bias"), |module| format!("{module}.bias"));
        if !self.tensors.contains_key(name) {
            return Err(PlanError::Awq { problem: format!("a layer has no tensor {name}"), hint: None });
        }
        for name in [name, &bias] {
            let Some(planned) = self.tensors.get_mut(name) else { continue };
            check(planned, self.options)?;
            let is_vector = planned.shape.dims().len() < 2 || name == bias;
            let dims = planned.shape.dims();
            let rows = if is_vector { dims.last() } else { dims.get(dims.len() - 2) };
            let rows = rows.and_then(|rows| usize::try_from(*rows).ok()).unwrap_or_default();
            let each = factors.len() / matrices.max(1);
            if is_vector && matrices > 1 {
                return Err(in_the_way(planned, "is a bias of experts, which is not known to be divided", None));
            }
            if rows < first + each {
                return Err(in_the_way(
                    planned,
                    format!("has shape {}, and {each} rows to be divided", planned.shape),
                    None,
                ));
            }
            let mut inverse = Vec::with_capacity(rows * matrices);
            for factors in factors.chunks_exact(each) {
                inverse.resize(inverse.len() + first, 1.0);
                inverse.extend(factors.iter().map(|factor| 1.0 / factor));
                inverse.resize(inverse.len() + rows - first - each, 1.0);
            }
            let found = planned.factors.get_or_insert_default();
            let inverse = Some(inverse.into());
            if is_vector {
                found.columns = inverse;
                found.added = if adds_one && name.ends_with("norm.weight") { 1.0 } else { 0.0 };
            } else {
                found.rows = inverse;
            }
            fits(planned)?;
        }
        Ok(())
    }
}

/// Refuses tensors whose values are not at hand.
fn check(planned: &PlannedTensor, options: &PlanOptions) -> Result<(), PlanError> {
    if !is_decoded(planned, options) {
        let hint = "import the model as it was before it was quantized, or add --requantize";
        return Err(in_the_way(planned, "is quantized already", Some(hint)));
    }
    if planned.arrangement == Arrangement::Transpose {
        return Err(in_the_way(planned, "has its inputs as rows", None));
    }
    if float_type(planned.dtype).is_none() {
        return Err(in_the_way(planned, format!("is {}, expected F32, F16 or BF16", planned.dtype), None));
    }
    Ok(())
}

/// Refuses factors of another number than a tensor's rows and columns.
fn fits(planned: &PlannedTensor) -> Result<(), PlanError> {
    if planned.factors.as_ref().is_none_or(|factors| factors.fits(&planned.shape)) {
        return Ok(());
    }
    Err(in_the_way(planned, format!("has shape {}, which its factors do not fit", planned.shape), None))
}

/// The error of a tensor that stands in the way.
fn in_the_way(planned: &PlannedTensor, problem: impl Into<String>, hint: Option<&'static str>) -> PlanError {
    PlanError::Awq { problem: format!("tensor {:?} {}", planned.name, problem.into()), hint }
}
