//! An adapter beside the weights: products of two factors that are added to what layers give.
//!
//! ```text
//! y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Mutex, PoisonError},
};

use longshore_manifest::{
    Weights,
    document::{Arrangement, TensorEntry},
    weights::{OpenOptions, Source},
};
use longshore_quant::{
    FloatType,
    matmul::{self, Multiplier},
};
use longshore_transform::adapter::{Adapter, BaseTensor, GGUF_DOCUMENT, Listed, ProductUpdate, View};

use crate::error::LoadError;

/// The document of an adapter that was a directory.
const CONFIG: &str = "adapter_config.json";

/// Ends of the names of the layers' matrices that a checkpoint may have as `[in, out]`. The first is never square, so its shape tells.
pub(crate) const TURNED: [&str; 4] =
    ["attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"];

/// What an adapter adds to the layers of a model, by the names of their weights.
#[derive(Debug, Default)]
pub(crate) struct Updates {
    /// Name of the adapter.
    adapter: String,
    of: BTreeMap<String, Vec<Factors>>,
    /// Names of the layers that were asked for theirs.
    taken: Mutex<BTreeSet<String>>,
}

/// Two factors, as little-endian F32 numbers.
#[derive(Debug)]
struct Factors {
    /// The first of the outputs that get something.
    first: usize,
    rank: usize,
    inputs: usize,
    outputs: usize,
    /// `[rank, inputs]`.
    a: Vec<u8>,
    /// `[outputs, rank]`, times the scale.
    b: Vec<u8>,
}

/// What is added to some outputs of a layer.
#[derive(Debug, Clone)]
pub(crate) struct Update<'w> {
    first: usize,
    a: matmul::Weights<'w>,
    b: matmul::Weights<'w>,
}

impl Updates {
    /// Reads the factors of an adapter for the model whose tensors `base` has.
    pub(crate) fn read(base: &Source, adapter: &Source) -> Result<Self, LoadError> {
        let fail = |problem: String| LoadError::Adapter { name: adapter.name().to_owned(), problem };
        if base.rotation().is_some() {
            return Err(fail(
                "the model's residual stream is rotated, and the adapter was trained on the stream as it was".into(),
            ));
        }
        if base.changes().is_some_and(|changes| changes.awq.is_some()) {
            return Err(fail(
                "columns of the model's weights have factors of their inputs (--awq), and the adapter was trained on the inputs as they \
                 were"
                    .into(),
            ));
        }
        let companion = |name| adapter.companion(name).map_err(|error| fail(error.to_string()));
        let config = match companion(CONFIG)? {
            None => companion(GGUF_DOCUMENT)?,
            found => found,
        };
        let config = config.ok_or_else(|| fail(format!("it has no {CONFIG}")))?;
        let weights = Weights::open_source(adapter, &OpenOptions::default())?;
        let tensors: Vec<_> = weights.iter().collect();
        let listed = tensors.iter().map(|tensor| Listed::new(tensor.name(), tensor.shape().dims())).collect::<Vec<_>>();
        let read = Adapter::read(&config, &listed).and_then(|read| read.with_base(&base.table().facts));
        let read = read.map_err(|error| fail(error.to_string()))?;
        if read.has_magnitudes() {
            return Err(fail("it holds magnitudes (DoRA), which need the norms of all rows".into()));
        }
        let entries: Vec<_> = base.table().blobs.iter().flat_map(|blob| &blob.tensors).collect();
        let (names, places) = base_tensors(&entries);
        let turned = turned(&entries, base.table().facts.hidden_size);
        let is_tied = base.table().facts.tied_embeddings == Some(true);
        let updates = read.fit(&names, is_tied).map_err(|error| fail(error.to_string()))?;
        if let Some(replaced) = updates.replacements.first() {
            return Err(fail(format!("it replaces {:?}", names[replaced.base].name)));
        }
        let mut found = BTreeMap::<String, Vec<Factors>>::new();
        for update in &updates.products {
            let entry = entries[places[update.base]];
            if entry.shape.rank() != 2 || is_embedding(&entry.name) {
                return Err(fail(format!("it changes {:?}, which is no linear layer", entry.name)));
            }
            if turned.contains(&&*entry.name) {
                return Err(fail(format!("it changes {:?}, whose matrix is stored as [in, out]", entry.name)));
            }
            // The rows of heads from a GGUF file are stored as those of a checkpoint.
            if !matches!(entry.arrangement, Arrangement::None | Arrangement::Halves { .. }) {
                return Err(fail(format!("it changes {:?}, whose rows are in another order", entry.name)));
            }
            let mut read = |view: View, lines: u64| {
                let values = tensors[view.tensor].values();
                let values = values.map_err(|error| fail(error.to_string()))?;
                let numbers = numbers(values, view, lines, update.rank);
                if numbers.iter().all(|number| number.is_finite()) {
                    return Ok::<_, LoadError>(numbers);
                }
                Err(fail(format!("its tensor {:?} holds a number that is not finite", tensors[view.tensor].name())))
            };
            let factors = Factors::new(update, &mut read)?.ok_or_else(|| {
                fail(format!("what it adds to {:?}, times {}, is not finite", entry.name, update.scale))
            })?;
            found.entry(entry.name.clone()).or_default().push(factors);
        }
        Ok(Self { adapter: adapter.name().to_owned(), of: found, taken: Mutex::default() })
    }

    /// What is added to the outputs of a layer.
    pub(crate) fn of(&self, name: &str) -> Vec<Update<'_>> {
        let Some(factors) = self.of.get(name) else { return Vec::new() };
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        factors.iter().map(Factors::update).collect()
    }

    /// Number of layers that get something.
    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }

    /// Refuses what is added to a weight that no layer has asked for.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        self.of.keys().find(|name| !taken.contains(*name)).map_or(Ok(()), |name| Err(self.refusal(name)))
    }

    /// The error of a weight that nothing can be added to while the model runs.
    pub(crate) fn refusal(&self, name: &str) -> LoadError {
        let problem = format!("it changes {name:?}, to which nothing can be added beside the weights");
        LoadError::Adapter { name: self.adapter.clone(), problem }
    }
}

/// The tensors of a model as a checkpoint names them, with the places of their entries.
fn base_tensors(entries: &[&TensorEntry]) -> (Vec<BaseTensor>, Vec<usize>) {
    let (mut names, mut places) = (Vec::new(), Vec::new());
    for (at, entry) in entries.iter().enumerate() {
        match (entry.arrangement, entry.shape.dims()) {
            (Arrangement::Stack, [_, of_one @ ..]) => {
                for name in entry.source_names() {
                    names.push(BaseTensor::new(name, of_one.to_vec()));
                    places.push(at);
                }
            }
            (_, dims) => {
                names.push(BaseTensor::new(&*entry.name, dims.to_vec()));
                places.push(at);
            }
        }
    }
    (names, places)
}

/// The layers' matrices that a checkpoint has as `[in, out]`, and that are turned when a model is opened.
fn turned<'e>(entries: &[&'e TensorEntry], hidden: Option<u64>) -> Vec<&'e str> {
    let named = |end: &'static str| entries.iter().filter(move |entry| entry.name.ends_with(end));
    let is_turned = named(TURNED[0]).any(|entry| entry.shape.dims().last().copied() != hidden);
    let all = TURNED.iter().flat_map(|end| named(end)).map(|entry| &*entry.name);
    if is_turned { all.collect() } else { Vec::new() }
}

fn is_embedding(name: &str) -> bool {
    ["embed_tokens.weight", "wte.weight", "wpe.weight", "word_embeddings.weight", "tok_embeddings.weight"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// The lines of a factor, each with `rank` numbers.
fn numbers(mut values: longshore_manifest::weights::Values<'_>, view: View, lines: u64, rank: u64) -> Vec<f32> {
    let mut all = vec![0.0; usize::try_from(values.len()).expect("it lies in memory")];
    values.read(0, &mut all);
    let at = |line: u64, k: u64| all[index(view.element(line, k))];
    (0..lines).flat_map(|line| (0..rank).map(move |k| (line, k))).map(|(line, k)| at(line, k)).collect()
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("it lies in memory")
}

impl Factors {
    /// Reads the factors of an update. `read` gives the lines of a factor. `None` if one is too large for its scale.
    fn new(
        update: &ProductUpdate,
        read: &mut dyn FnMut(View, u64) -> Result<Vec<f32>, LoadError>,
    ) -> Result<Option<Self>, LoadError> {
        let (rows, rank) = (update.rows.end - update.rows.start, index(update.rank));
        let (left, right) = (read(update.left, rows)?, read(update.right, update.columns)?);
        let inputs = index(update.columns);
        // The factor along the inputs is turned, so that an input is multiplied by rows.
        let a = (0..rank).flat_map(|k| (0..inputs).map(move |input| input * rank + k)).map(|at| right[at]);
        let left: Vec<f32> = left.iter().map(|value| value * update.scale).collect();
        let is_finite = left.iter().all(|value| value.is_finite());
        Ok(is_finite.then(|| Self {
            first: index(update.rows.start),
            rank,
            inputs,
            outputs: index(rows),
            a: a.flat_map(f32::to_le_bytes).collect(),
            b: left.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }))
    }

    fn update(&self) -> Update<'_> {
        let plain = |shape, bytes| matmul::Weights::plain(FloatType::F32, shape, bytes);
        let why = "the factors were read in these shapes";
        Update {
            first: self.first,
            a: plain([self.rank, self.inputs], &self.a).expect(why),
            b: plain([self.outputs, self.rank], &self.b).expect(why),
        }
    }
}

impl Update<'_> {
    /// The update of the layer that has these outputs of this one. `None` if it gets nothing.
    pub(crate) fn range(&self, range: &Range<usize>) -> Option<Self> {
        let (first, end) = (self.first.max(range.start), (self.first + self.b.rows()).min(range.end));
        let b = (first < end).then(|| self.b.range(first - self.first..end - self.first).expect("they are its rows"));
        Some(Self { first: first - range.start, a: self.a, b: b? })
    }

    /// Adds to the outputs `y` of a layer, `out` for each row of `x`.
    pub(crate) fn add(&self, multiplier: Multiplier, (rows, x): (usize, &[f32]), out: usize, y: &mut [f32]) {
        let (rank, outputs) = (self.a.rows(), self.b.rows());
        let (mut inner, mut added) = (vec![0.0; rows * rank], vec![0.0; rows * outputs]);
        let why = "buffers are as long as the shapes say";
        multiplier.multiply(self.a, rows, x, &mut inner).expect(why);
        multiplier.multiply(self.b, rows, &inner, &mut added).expect(why);
        for (y, added) in y.chunks_exact_mut(out.max(1)).zip(added.chunks_exact(outputs.max(1))) {
            y[self.first..].iter_mut().zip(added).for_each(|(y, added)| *y += added);
        }
    }
}
