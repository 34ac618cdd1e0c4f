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
    anatomy::{BIASES, FIRST, OTHERS, READERS, SECOND, WRITERS},
    draft::Draft,
    error::PlanError,
    options::{Awq, PlanOptions},
    planned::{PlannedTensor, float_type, weighed},
};
use crate::source::{checkpoint::Source, classify::Kind};

/// Architectures whose tensors of a layer are all known, each with the norm that stands before its feed-forward part.
const ARCHITECTURES: [(&str, &str); 10] = [
    ("Gemma2ForCausalLM", BEFORE_FEED_FORWARD),
    ("Gemma3ForCausalLM", BEFORE_FEED_FORWARD),
    ("LlamaForCausalLM", SECOND),
    ("MistralForCausalLM", SECOND),
    ("MixtralForCausalLM", SECOND),
    ("Phi3ForCausalLM", SECOND),
    ("Qwen2ForCausalLM", SECOND),
    ("Qwen3ForCausalLM", SECOND),
    ("Qwen3MoeForCausalLM", SECOND),
    ("SmolLM3ForCausalLM", SECOND),
];
/// The norm before the feed-forward part where there is one behind attention, too.
const BEFORE_FEED_FORWARD: &str = "pre_feedforward_layernorm.weight";
/// Norms of what attention and the feed-forward part add to the stream.
const BEHIND: [&str; 2] = [SECOND, "post_feedforward_layernorm.weight"];

const VALUES: &str = "self_attn.v_proj.weight";
/// Queries, keys and values in one matrix.
const FUSED: &str = "self_attn.qkv_proj.weight";
const OUTPUT: &str = "self_attn.o_proj.weight";
const UP: &str = "mlp.up_proj.weight";
/// Gate and up projection in one matrix.
const GATE_UP: &str = "mlp.gate_up_proj.weight";

/// Weights that make inputs of another, whether they do in the later half of their rows, and that other.
const INNER: [(&str, bool, &str); 5] = [
    (UP, false, "mlp.down_proj.weight"),
    (GATE_UP, true, "mlp.down_proj.weight"),
    ("mlp.experts.up_proj.weight", false, "mlp.experts.down_proj.weight"),
    ("mlp.experts.gate_up_proj", true, "mlp.experts.down_proj"),
    ("block_sparse_moe.experts.w3.weight", false, "block_sparse_moe.experts.w2.weight"),
];

/// Gives tensors of `drafts` the factors that the options ask for. Returns a note for the user.
pub(super) fn scale(
    source: &Source,
    options: &PlanOptions,
    drafts: &mut [Draft],
    warnings: &mut Vec<String>,
) -> Result<Option<String>, PlanError> {
    let Some(awq) = options.awq() else { return Ok(None) };
    if !(0.0..=1.0).contains(&awq.power) {
        return Err(refused(format!("the power is {}, expected a number from 0 to 1", awq.power)));
    }
    let (facts, second) = facts(source)?;
    let found = awq.statistics.check_recorded(weighed(source));
    warnings.extend(found.map_err(|source| PlanError::AwqStatistics { source: Box::new(source) })?);
    let mut layers = BTreeMap::<u64, Layer<'_>>::new();
    for planned in drafts.iter_mut().flat_map(|draft| &mut draft.tensors) {
        let in_layer = planned.name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
        let Some((Ok(number), rest)) = in_layer.map(|(number, rest)| (number.parse(), rest.to_owned())) else {
            continue;
        };
        let new = || {
            let (tensors, unknown) = (BTreeMap::new(), Vec::new());
            Layer { number, awq, options, second, facts: &facts, tensors, scaled: 0, unknown }
        };
        let layer = layers.entry(number).or_insert_with(new);
        if let Some(other) = layer.tensors.insert(rest, planned) {
            return Err(in_the_way(other, "is in the layer twice, under numbers that are spelled in two ways", None));
        }
    }
    let (mut scaled, mut unknown) = (0, Vec::new());
    for layer in layers.values_mut() {
        layer.check()?;
        layer.scale()?;
        scaled += layer.scaled;
        unknown.append(&mut layer.unknown);
    }
    if let [first, ..] = &*unknown {
        warnings.push(format!(
            "{}: the columns of {} weights get no factors, since the file has no statistics of them: {first:?} first",
            awq.statistics.path().display(),
            unknown.len(),
        ));
    }
    if scaled == 0 {
        let (problem, hint) = if unknown.is_empty() {
            (
                "no weight of a layer is quantized",
                "add --quantize TYPE, and a policy that gives it to weights of layers",
            )
        } else {
            (
                "the file has no statistics of weights that are quantized",
                "calibrate this model: longshore calibrate NAME --text FILE OUT",
            )
        };
        return Err(PlanError::Awq { problem: problem.to_owned(), hint: Some(hint) });
    }
    Ok(Some(format!(
        "columns of {scaled} weights are multiplied by factors of their inputs, to the power {}",
        awq.power
    )))
}

/// The facts of a model whose columns can have factors, and its second norm.
fn facts(source: &Source) -> Result<(Facts, &'static str), PlanError> {
    if source.kind == Kind::Gguf {
        return Err(refused("the source is in GGUF, expected a checkpoint".into()));
    }
    if source.kind == Kind::Pipeline || source.base.is_some() {
        return Err(refused("the source is a pipeline or an adapter, expected a language model".into()));
    }
    if source.rotation.is_some() {
        let hint = "rotate it, calibrate what is stored, and import that with --awq";
        let problem = "the residual stream is rotated in the same import".to_owned();
        return Err(PlanError::Awq { problem, hint: Some(hint) });
    }
    if source.changes.as_ref().is_some_and(|changes| changes.awq.is_some()) {
        return Err(refused("the columns of the source have such factors already".into()));
    }
    let member = source.members.iter().find(|member| !member.is_draft());
    let config = member.and_then(|member| member.config.as_ref());
    let config = config.ok_or_else(|| refused("the source has no config.json".into()))?;
    let architecture = config.architecture.as_deref().unwrap_or_default();
    let Some((_, second)) = ARCHITECTURES.iter().find(|(name, _)| *name == architecture) else {
        let known = ARCHITECTURES.map(|(name, _)| name).join(", ");
        return Err(refused(format!(
            "where factors of columns can go is not known for {architecture:?}, expected one of {known}"
        )));
    };
    Ok((config.facts(), second))
}

/// The tensors of one layer, by the rest of their names.
struct Layer<'a> {
    number: u64,
    awq: &'a Awq,
    options: &'a PlanOptions,
    /// Name of the second norm.
    second: &'static str,
    facts: &'a Facts,
    tensors: BTreeMap<String, &'a mut PlannedTensor>,
    /// Number of weights whose columns have got factors.
    scaled: usize,
    /// Weights that are quantized, and have no statistics.
    unknown: Vec<String>,
}

impl Layer<'_> {
    /// Refuses tensors that are not known: they may read what a norm makes, or change what a weight makes for another.
    fn check(&self) -> Result<(), PlanError> {
        let is_known = |rest: &str| {
            let readers = READERS.iter().map(|(reader, _)| *reader);
            let mut known =
                readers.chain(WRITERS).chain(BIASES).chain(OTHERS).chain(BEHIND).chain([FIRST, self.second]);
            known.any(|name| name == rest)
        };
        if let Some((_, planned)) = self.tensors.iter().find(|(rest, _)| !is_known(rest)) {
            return Err(in_the_way(planned, "is none that is known to read or not to read what a norm makes", None));
        }
        for [one, other] in [[VALUES, FUSED], [UP, GATE_UP]] {
            if let (Some(planned), true) = (self.tensors.get(one), self.tensors.contains_key(other)) {
                return Err(in_the_way(planned, format!("stands beside {other}, which has the same rows"), None));
            }
        }
        Ok(())
    }

    /// Gives all tensors of the layer their factors.
    fn scale(&mut self) -> Result<(), PlanError> {
        for norm in [FIRST, SECOND] {
            let readers = READERS.iter().filter(|(_, of)| *of == norm).map(|(reader, _)| *reader);
            let readers: Vec<_> = readers.filter(|reader| self.tensors.contains_key(*reader)).collect();
            let Some(squares) = self.squares(&readers, true)? else { continue };
            let factors = self.factors(&squares);
            self.divide(if norm == FIRST { FIRST } else { self.second }, 1, 0, &factors)?;
            self.multiply(&readers, &factors)?;
        }
        self.attention()?;
        for (maker, is_later, reader) in INNER {
            if ![maker, reader].iter().all(|name| self.tensors.contains_key(*name)) {
                continue;
            }
            let Some(squares) = self.squares(&[reader], false)? else { continue };
            // Each expert has inner channels of its own.
            let columns = self.tensors[reader].shape.dims().last().copied().unwrap_or_default();
            let columns = usize::try_from(columns).unwrap_or_default().max(1);
            let factors: Vec<f32> = squares.chunks_exact(columns).flat_map(|squares| self.factors(squares)).collect();
            self.divide(maker, factors.len() / columns, if is_later { columns } else { 0 }, &factors)?;
            self.multiply(&[reader], &factors)?;
        }
        Ok(())
    }

    /// Factors of values: each head of them is read by as many heads of queries as share it.
    fn attention(&mut self) -> Result<(), PlanError> {
        let maker = [VALUES, FUSED].into_iter().find(|name| self.tensors.contains_key(*name));
        let (Some(maker), true) = (maker, self.tensors.contains_key(OUTPUT)) else { return Ok(()) };
        let Some(squares) = self.squares(&[OUTPUT], true)? else { return Ok(()) };
        let number = |heads: Option<u64>| heads.and_then(|heads| usize::try_from(heads).ok()).unwrap_or_default();
        let heads = number(self.facts.heads);
        let groups = self.facts.kv_heads.map_or(heads, |groups| number(Some(groups)));
        if heads == 0 || groups == 0 || !heads.is_multiple_of(groups) || !squares.len().is_multiple_of(heads) {
            let stated = |heads| if heads == 0 { "no number of heads".to_owned() } else { format!("{heads} heads") };
            let (inputs, heads, groups) = (squares.len(), stated(heads), stated(groups));
            let problem = format!("has {inputs} inputs, and config.json {heads}, of keys and values {groups}");
            return Err(in_the_way(self.tensors[OUTPUT], problem, None));
        }
        let size = squares.len() / heads;
        let of_group = heads / groups * size;
        let shared: Vec<f32> = squares.chunks_exact(of_group).flat_map(|heads| channels::mean(heads, size)).collect();
        let factors = self.factors(&shared);
        let repeated: Vec<f32> = factors.chunks_exact(size).flat_map(|head| head.repeat(heads / groups)).collect();
        let first = if maker == FUSED { (heads + groups) * size } else { 0 };
        self.divide(maker, 1, first, &factors)?;
        self.multiply(&[OUTPUT], &repeated)
    }

    fn factors(&self, squares: &[f32]) -> Vec<f32> {
        channels::factors(squares, self.awq.power)
    }

    /// The mean squares of the inputs of weights. `None` if there are no statistics, or if none of the weights is quantized anew.
    /// `[columns]` for one input that all share, else `[experts, columns]` for a stack whose experts have statistics each.
    fn squares(&mut self, names: &[&str], is_shared: bool) -> Result<Option<Vec<f32>>, PlanError> {
        let mut tensors: Vec<&PlannedTensor> = names.iter().map(|name| &*self.tensors[*name]).collect();
        let is_encoded = |planned: &PlannedTensor| planned.scheme.is_some() && is_decoded(planned, self.options);
        if !tensors.iter().any(|planned| is_encoded(planned)) {
            return Ok(None);
        }
        // A router and dense weights have seen every token, an expert only its own.
        tensors.sort_by_key(|planned| planned.shape.dims().len());
        for planned in &tensors {
            let found = self.awq.statistics.of_weight(&planned.name, &planned.shape);
            let fail = |source| PlanError::AwqStatistics { source: Box::new(source) };
            let Some(found) = found.map_err(fail)? else { continue };
            return Ok(Some(if is_shared { seen(&found.values, found.columns) } else { found.values }));
        }
        self.unknown.extend(tensors.iter().filter(|planned| is_encoded(planned)).map(|planned| planned.name.clone()));
        Ok(None)
    }

    /// Multiplies the columns of weights.
    fn multiply(&mut self, names: &[&str], factors: &[f32]) -> Result<(), PlanError> {
        let factors: Arc<[f32]> = factors.into();
        for name in names {
            let planned = self.tensors.get_mut(*name).expect("the caller has found it");
            check_values(planned, self.options)?;
            planned.factors.get_or_insert_default().columns = Some(Arc::clone(&factors));
            fits(planned)?;
            self.scaled += 1;
        }
        Ok(())
    }

    /// Divides the rows of a weight, from `first` to the last in each of its matrices, and the bias beside it; or the gain of a norm.
    fn divide(&mut self, name: &str, matrices: usize, first: usize, factors: &[f32]) -> Result<(), PlanError> {
        let bias = name.strip_suffix(".weight").map(|module| format!("{module}.bias"));
        if !self.tensors.contains_key(name) {
            return Err(refused(format!("layer {} has no tensor {name}", self.number)));
        }
        for name in [Some(name), bias.as_deref()].into_iter().flatten() {
            let Some(planned) = self.tensors.get_mut(name) else { continue };
            check_values(planned, self.options)?;
            let (is_vector, rows) = match planned.shape.dims() {
                [rows] => (true, *rows),
                [.., rows, _] => (false, *rows),
                [] => (true, 1),
            };
            let rows = usize::try_from(rows).unwrap_or_default();
            let each = factors.len() / matrices.max(1);
            if rows != first + each {
                let problem = format!("has shape {}, expected {} rows by what reads them", planned.shape, first + each);
                return Err(in_the_way(planned, problem, None));
            }
            let mut inverse = Vec::with_capacity(rows * matrices);
            for factors in factors.chunks_exact(each) {
                inverse.resize(inverse.len() + first, 1.0);
                inverse.extend(factors.iter().map(|factor| 1.0 / factor));
            }
            let inverse = Some(inverse.into());
            let found = planned.factors.get_or_insert_default();
            if is_vector {
                found.columns = inverse;
                let is_gain = [FIRST, self.second].contains(&name);
                found.added = if is_gain && self.facts.norm.adds_one == Some(true) { 1.0 } else { 0.0 };
            } else {
                found.rows = inverse;
            }
            fits(planned)?;
        }
        Ok(())
    }
}

/// The mean over experts that have seen inputs. What has seen none has the same number in all columns.
fn seen(values: &[f32], columns: usize) -> Vec<f32> {
    let is_seen = |row: &&[f32]| row.iter().any(|value| value.to_bits() != row[0].to_bits());
    let rows: Vec<f32> = values.chunks_exact(columns).filter(is_seen).flatten().copied().collect();
    channels::mean(if rows.is_empty() { values } else { &rows }, columns)
}

/// Refuses tensors whose values are not at hand.
fn check_values(planned: &PlannedTensor, options: &PlanOptions) -> Result<(), PlanError> {
    if !is_decoded(planned, options) {
        let hint = "import the model as it was before it was quantized, or add --requantize with --quantize TYPE";
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

fn refused(problem: String) -> PlanError {
    PlanError::Awq { problem, hint: None }
}

/// The error of a tensor that stands in the way.
fn in_the_way(planned: &PlannedTensor, problem: impl Into<String>, hint: Option<&'static str>) -> PlanError {
    PlanError::Awq { problem: format!("tensor {:?} {}", planned.name, problem.into()), hint }
}
