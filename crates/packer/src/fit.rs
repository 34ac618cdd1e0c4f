//! A policy for a stored model, fitted to a budget of bits by the losses that statistics measure.

use std::{
    collections::{HashMap, HashSet},
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use longshore_manifest::{
    Progress, Weights,
    document::{Arrangement, Facts, TensorEntry},
    store::Model,
    weights::{Tensor, WeightsError},
};
use longshore_quant::{
    Decoder, EncodeBuffers, Encoder, FloatType, Profile, Scheme,
    policy::{
        Policy, Query,
        fit::{Offer, choose, text},
    },
};

use crate::{
    io::{
        memory::{self, MemoryError},
        threads::{share, threads},
    },
    plan::planned::float_type,
    statistics::{
        error::ImportanceFileError,
        importance::{ImportanceFile, TensorImportance},
        recorded::Weighed,
    },
};

/// The types that a fitted policy gives tensors, beside keeping them.
const SCHEMES: [&str; 7] = ["int2", "int3", "int4", "int4-g32", "int5", "int6", "int8"];
/// Values of a tensor that are measured at a time, unless a row has more.
const CHUNK: usize = 256 << 10;

/// The outcome of [`fit`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fitted {
    /// The policy, as TOML.
    pub policy: String,
    /// Bits of all parts of tensors for each parameter of the model, under the policy.
    pub bits_per_weight: f64,
    /// The tensors that were chosen for, with their types. `None` keeps a tensor.
    pub chosen: Vec<(String, Option<Scheme>)>,
    /// Warnings: tensors without statistics, and statistics of another model.
    pub warnings: Vec<String>,
}

/// Reason why no policy is fitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// The model is quantized.
    #[error("tensor {tensor:?} is {found}, expected a model of floats")]
    Quantized {
        /// The first such tensor.
        tensor: String,
        /// Its code.
        found: String,
    },
    /// No tensor of the model is one that policies quantize.
    #[error("the model has no tensor that would be quantized")]
    NoTensors,
    /// The budget is below what the smallest types take.
    #[error("{bits} bits per weight are too few: the smallest types and what is not quantized take {least:.2}")]
    Budget {
        /// The budget.
        bits: f64,
        /// Bits per weight of the cheapest choice.
        least: f64,
    },
    /// The statistics do not fit the weights.
    #[error(transparent)]
    Statistics(#[from] ImportanceFileError),
    /// The file of statistics has nothing of any tensor that would be quantized.
    #[error("the statistics have no tensor for any weight that would be quantized; {example:?} is one of those")]
    Unused {
        /// The first such weight.
        example: String,
    },
    /// A tensor holds infinities or NaNs, so that no loss can be measured.
    #[error("tensor {tensor:?} holds infinities or NaNs, or its statistics are too large to weigh it by")]
    NonFinite {
        /// The tensor.
        tensor: String,
    },
    /// Weights cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The system gives no memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// It was stopped.
    #[error("stopped; nothing was written")]
    Cancelled,
}

/// A tensor to choose a type for.
struct Candidate<'w> {
    tensor: Tensor<'w>,
    float: FloatType,
    bytes: u64,
    importance: Option<TensorImportance>,
    /// The part of the tensor's relative loss in the loss of the model.
    share: f64,
}

/// Chooses a type for each tensor of an opened model of floats that [`Policy::default`] quantizes, so that the model takes at most
/// `bits` bits per weight, all that is kept included.
///
/// The loss of a tensor in a type is that of its products with inputs of the measured mean squares, relative to the products,
/// and that of its values, relative to the values: the inputs of a few tokens may be so large that the first says nothing of others.
/// Tensors that differ in the number of their layer alone share one weight, since each does a part of the work. An embedding
/// or a head weighs as much as all layers, since its errors reach every layer or every logit whole. Bytes are spent where they lower
/// the sum of losses most, beginning with the smallest types. A tensor without statistics, or whose inputs were all zero, is measured
/// as if all of its channels counted alike, and [`Fitted::warnings`] says so. `model` is the stored model, whose digest the
/// statistics may name.
///
/// # Errors
///
/// Returns a [`FitError`].
pub fn fit(
    weights: &Weights,
    model: &Model,
    statistics: &ImportanceFile,
    bits: f64,
    count: Option<NonZero<usize>>,
    progress: &dyn Progress,
) -> Result<Fitted, FitError> {
    let table = weights.table();
    let changes = model.config.changes.as_ref();
    let seed = changes.and_then(|changes| changes.rotation).map(|rotation| rotation.seed);
    let awq = changes.and_then(|changes| changes.awq);
    let of_model = statistics.check_recorded(Weighed { model: Some(model.digest), seed, is_made: false, awq })?;
    if let Some((_, entry)) = table.tensors().find(|(_, entry)| entry.quantization.is_some()) {
        let found = entry.quantization.as_ref().map(ToString::to_string).unwrap_or_default();
        return Err(FitError::Quantized { tensor: entry.name.clone(), found });
    }
    let (mut candidates, mut fixed, mut elements) = (Vec::new(), 0, 0);
    for (_, entry) in table.tensors() {
        let bytes = entry.parts.iter().map(|part| part.length).fold(0, u64::saturating_add);
        elements += entry.elements();
        match weights.get(&entry.name).zip(float_type(entry.dtype)) {
            Some((tensor, float)) if is_quantized(&table.facts, entry) => {
                let importance = statistics.of_weight(&entry.name, &entry.shape)?;
                candidates.push(Candidate { tensor, float, bytes, importance, share: 1.0 });
            }
            _ => fixed += bytes,
        }
    }
    let Some(first) = candidates.first() else { return Err(FitError::NoTensors) };
    if candidates.iter().all(|candidate| candidate.importance.is_none()) {
        return Err(FitError::Unused { example: first.tensor.name().to_owned() });
    }
    share_losses(&mut candidates);
    let measured = measure(&candidates, threads(count), progress)?;
    let mut warnings: Vec<String> = without(&candidates, &measured, statistics).into_iter().collect();
    warnings.extend(of_model);
    let offers: Vec<Vec<Offer>> = measured.into_iter().map(|measured| measured.offers).collect();
    #[expect(clippy::cast_precision_loss, reason = "numbers of bytes and parameters")]
    let per_weight = |bytes: u64| 8.0 * bytes as f64 / (elements.max(1)) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a budget"
    )]
    let budget = (bits * elements as f64 / 8.0).max(0.0) as u64;
    let least = offers
        .iter()
        .filter_map(|offers| offers.iter().map(|offer| offer.bytes).min())
        .fold(fixed, u64::saturating_add);
    let chosen = budget.checked_sub(fixed).and_then(|budget| choose(&offers, budget));
    let chosen = chosen.ok_or_else(|| FitError::Budget { bits, least: per_weight(least) })?;
    let offers = || chosen.iter().zip(&offers).map(|(at, offers)| offers[*at]);
    let bits_per_weight = per_weight(offers().map(|offer| offer.bytes).fold(fixed, u64::saturating_add));
    let schemes = || candidates.iter().zip(offers()).map(|(of, offer)| (of.tensor.name(), offer.scheme));
    let description =
        format!("fitted to {bits_per_weight:.3} bits per weight by statistics of {}", statistics.digest());
    Ok(Fitted {
        policy: text(&description, schemes()),
        bits_per_weight,
        chosen: schemes().map(|(name, scheme)| (name.to_owned(), scheme)).collect(),
        warnings,
    })
}

/// Says which tensors were measured without statistics.
fn without(candidates: &[Candidate<'_>], measured: &[Measured], statistics: &ImportanceFile) -> Option<String> {
    let mut without = candidates.iter().zip(measured).filter(|(_, measured)| !measured.is_weighed);
    let (first, _) = without.next()?;
    let (count, all, first) = (1 + without.count(), candidates.len(), first.tensor.name());
    let path = statistics.path().display();
    if count == 1 {
        return Some(format!("{path}: {first:?} has no statistics, or only zeros, and all its channels count alike"));
    }
    let why = "have no statistics, or only zeros, and all their channels count alike";
    Some(format!("{path}: {count} of {all} tensors {why}: {first:?} first"))
}

/// Whether the default policy quantizes a tensor.
fn is_quantized(facts: &Facts, entry: &TensorEntry) -> bool {
    let query = Query {
        stacked: entry.arrangement == Arrangement::Stack,
        architecture: facts.architecture.as_deref(),
        layers: facts.layers,
        counted_layers: facts.layers,
        experts: facts.experts,
        dense_layers: facts.dense_layers.as_deref(),
        tied: facts.tied_embeddings == Some(true),
        ..Query::new(&entry.name, entry.shape.dims())
    };
    Policy::default().decide(&query, Some(Scheme::INT4)).scheme.is_some()
}

/// Divides the weight of each kind of tensor among the tensors of the kind. A tensor outside of the layers weighs as much as all
/// kinds within them.
fn share_losses(candidates: &mut [Candidate<'_>]) {
    let is_number = |segment: &str| segment.bytes().all(|byte| byte.is_ascii_digit());
    let kind = |name: &str| name.split('.').filter(|segment| !is_number(segment)).collect::<Vec<_>>().join(".");
    let is_in_layer = |name: &str| name.split('.').any(is_number);
    let mut counts = HashMap::<String, f64>::new();
    for candidate in &*candidates {
        *counts.entry(kind(candidate.tensor.name())).or_default() += 1.0;
    }
    let within: HashSet<_> =
        candidates.iter().map(|of| of.tensor.name()).filter(|name| is_in_layer(name)).map(kind).collect();
    #[expect(clippy::cast_precision_loss, reason = "kinds are few")]
    let outside = within.len().max(1) as f64;
    for candidate in candidates {
        let name = candidate.tensor.name();
        candidate.share = if is_in_layer(name) { 1.0 } else { outside } / counts[&kind(name)];
    }
}

/// Measures what each tensor costs and loses in each type.
fn measure(candidates: &[Candidate<'_>], threads: usize, progress: &dyn Progress) -> Result<Vec<Measured>, FitError> {
    progress.begin("measuring", candidates.iter().map(|candidate| candidate.bytes).fold(0, u64::saturating_add));
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(candidate) = candidates.get(at) else { return };
            let offers = if progress.cancelled() { Err(FitError::Cancelled) } else { candidate.offers() };
            let is_over = offers.is_err();
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, offers));
            if is_over {
                // The others need not begin anything.
                next.store(candidates.len(), Ordering::Relaxed);
            }
            progress.advance(candidate.bytes);
        }
    };
    share(threads.min(candidates.len()), &work);
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, offers)| offers).collect()
}

/// What a tensor costs and loses.
struct Measured {
    offers: Vec<Offer>,
    /// Whether statistics weighed its losses.
    is_weighed: bool,
}

impl Candidate<'_> {
    /// What the tensor costs and loses in every type that fits it.
    fn offers(&self) -> Result<Measured, FitError> {
        let columns = self.tensor.shape().dims().last().copied().unwrap_or_default();
        let schemes = SCHEMES.map(|name| name.parse::<Scheme>().expect("the names are those of types"));
        let schemes: Vec<Scheme> =
            schemes.into_iter().filter(|scheme| columns.is_multiple_of(scheme.group_size().into())).collect();
        let [plain, weighed] = self.losses(&schemes, columns)?;
        let weighed = self.importance.is_some().then_some(weighed);
        for (losses, all) in [Some(&plain), weighed.as_ref()].into_iter().flatten() {
            if !all.is_finite() || losses.iter().any(|loss| !loss.is_finite()) {
                return Err(FitError::NonFinite { tensor: self.tensor.name().to_owned() });
            }
        }
        // Nothing came in while statistics of zeros were recorded, which says nothing of what will. A weight of zeros loses nothing
        // whatever comes in.
        let weighed = weighed.filter(|(_, all)| *all > 0.0 || plain.1 <= 0.0);
        let relative = |(losses, all): &(Vec<f64>, f64), at: usize| if *all > 0.0 { losses[at] / all } else { 0.0 };
        let offers = schemes.iter().enumerate().map(|(at, scheme)| {
            let groups = self.tensor.shape().elements().unwrap_or_default() / u64::from(scheme.group_size());
            let one = scheme.encoded_len(1, self.float).expect("a group is short");
            let bytes = groups.saturating_mul((one.weight + one.scale + one.bias) as u64);
            let loss = relative(&plain, at) + relative(weighed.as_ref().unwrap_or(&plain), at);
            Offer { scheme: Some(*scheme), bytes, loss: loss * self.share }
        });
        let kept = Offer { scheme: None, bytes: self.bytes, loss: 0.0 };
        Ok(Measured { offers: offers.chain([kept]).collect(), is_weighed: weighed.is_some() })
    }

    /// The squares of the errors under each type, and those of the values: as they are, and weighted by the statistics. Each value is
    /// encoded once in each type.
    fn losses(&self, schemes: &[Scheme], columns: u64) -> Result<[(Vec<f64>, f64); 2], FitError> {
        let mut values = self.tensor.values()?;
        let mut found = [(); 2].map(|()| (vec![0.0; schemes.len()], 0.0));
        let columns = usize::try_from(columns).unwrap_or(usize::MAX).max(1);
        let rows = self.tensor.shape().dims().iter().rev().nth(1).copied().unwrap_or(1).max(1);
        let at_once = (CHUNK / columns).max(1) * columns;
        let total = values.len();
        let (mut numbers, mut source, mut restored) = (Vec::new(), Vec::new(), Vec::new());
        let [mut weight, mut scale, mut bias] = [Vec::new(), Vec::new(), Vec::new()];
        let mut from = 0_u64;
        while from < total {
            // A part ends with its matrix, whose columns have an importance of their own.
            let in_matrix = rows * columns as u64;
            let count = (at_once as u64).min(in_matrix - from % in_matrix).min(total - from);
            let len = usize::try_from(count).expect("a part is short");
            memory::fill(&mut numbers, len, 0.0)?;
            values.read(from, &mut numbers);
            memory::resize(&mut source, len * self.float.size())?;
            longshore_transform::float::write(self.float, &numbers, &mut source);
            let importance = self.importance.as_ref().map(|importance| importance.of_matrix(from / in_matrix));
            let weigh = |at: usize| importance.map_or(1.0, |importance| f64::from(importance[at % columns]));
            for ((_, all), sum) in found.iter_mut().zip(squares(numbers.iter().copied(), weigh)) {
                *all += sum;
            }
            for (at, scheme) in schemes.iter().enumerate() {
                let groups = len / scheme.group_size() as usize;
                let parts = scheme.encoded_len(groups, self.float).expect("codes take less memory than the floats");
                memory::resize(&mut weight, parts.weight)?;
                memory::resize(&mut scale, parts.scale)?;
                memory::resize(&mut bias, parts.bias)?;
                let out = EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias };
                Encoder::new(*scheme, self.float, Profile::Plus).encode(&source, out).expect("BUG: whole groups");
                memory::resize(&mut restored, len * size_of::<f32>())?;
                let decoder = Decoder::new(*scheme, self.float, FloatType::F32);
                decoder.decode(&weight, &scale, &bias, &mut restored).expect("BUG: parts that encoding made");
                let rounded = restored.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                let errors = numbers.iter().zip(rounded).map(|(value, rounded)| value - rounded);
                for ((losses, _), sum) in found.iter_mut().zip(squares(errors, weigh)) {
                    losses[at] += sum;
                }
            }
            from += count;
        }
        Ok(found)
    }
}

/// The sum of the squares of numbers, and that of the squares times the weights of their places.
fn squares(numbers: impl Iterator<Item = f32>, weigh: impl Fn(usize) -> f64) -> [f64; 2] {
    numbers.enumerate().fold([0.0; 2], |[plain, weighted], (at, number)| {
        let number = f64::from(number);
        [plain + number * number, weighted + weigh(at) * number * number]
    })
}
