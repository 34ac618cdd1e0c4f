//! Encoders like BERT: every token looks at all others.

use longshore_manifest::{document::Facts, weights::Source};
use longshore_quant::matmul::{Multiplier, Threads};

use crate::{
    decoder::{Cache, attend, math},
    error::{LoadError, RunError},
    options::{KvType, LoadOptions},
    spec::{self, Activation, Spec},
    threads,
    weights::{Finder, Linear, Norm, Tensors},
};

/// Names of the encoders that can be run, as classes and as `model_type`s, reduced.
const NAMES: [&str; 3] = ["bert", "roberta", "xlmroberta"];

/// Whether a model is an encoder that can be run.
pub(crate) fn is_encoder(facts: &Facts) -> bool {
    names(facts).any(|name| NAMES.contains(&name.as_str()))
}

/// An opened encoder.
#[derive(Debug)]
pub(crate) struct OpenEncoder {
    pub(crate) source: Source,
    pub(crate) tensors: Tensors,
    pub(crate) spec: Spec,
    pub(crate) multiplier: Multiplier,
    pub(crate) threads: Threads,
    /// Position of the first token in the table of positions.
    first: usize,
    max_sequence: usize,
}

impl OpenEncoder {
    /// Opens the encoder of `source`.
    pub(crate) fn open(source: Source, options: &LoadOptions) -> Result<Self, LoadError> {
        let facts = &source.table().facts;
        let spec = encoder(facts)?;
        let first = first_position(facts);
        let tensors = Tensors::open(&source, options)?;
        Encoder::new(&spec, &tensors)?;
        // What attention does with another tensor, this one does not.
        let unused = tensors.unused();
        if let Some(first) = unused.iter().find(|name| name.contains("attention.")) {
            return Err(LoadError::Unsupported { what: format!("a tensor {first:?}") });
        }
        let (multiplier, threads) = (Multiplier::new(options.precision), threads::start(options.threads)?);
        let longest = spec.context.saturating_sub(first);
        let max_sequence = options.max_sequence.map_or(longest, |asked| asked.min(longest));
        Ok(Self { source, tensors, spec, multiplier, threads, first, max_sequence })
    }

    /// Longest text, in tokens.
    pub(crate) fn max_sequence(&self) -> usize {
        self.max_sequence
    }

    /// Computes the hidden states of a text, `[tokens, hidden]`.
    pub(crate) fn states(&self, tokens: &[u32]) -> Result<Vec<f32>, RunError> {
        let (limit, vocabulary) = (self.max_sequence(), self.spec.vocabulary);
        if tokens.is_empty() {
            return Err(RunError::Empty);
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(RunError::Token { token: *token, vocabulary });
        }
        if tokens.len() > limit {
            return Err(RunError::TooLong { found: tokens.len(), limit });
        }
        let encoder = Encoder::new(&self.spec, &self.tensors).expect("opening has bound the same tensors");
        self.threads.install(|| encoder.forward(&self.spec, self.multiplier, &self.threads, (self.first, tokens)))
    }
}

/// Beginning of the names of an encoder's tensors, such as `bert.`.
pub(crate) fn prefix(tensors: &Tensors) -> Result<&str, LoadError> {
    const WORDS: &str = "embeddings.word_embeddings.weight";
    let prefix = tensors.names().filter_map(|name| name.strip_suffix(WORDS)).min_by_key(|prefix| prefix.len());
    prefix.ok_or_else(|| LoadError::MissingTensor { names: vec![WORDS.to_owned()] })
}

/// Weights of an encoder, borrowed from the opened tensors.
#[derive(Debug)]
struct Encoder<'w> {
    words: Linear<'w>,
    positions: Linear<'w>,
    types: Linear<'w>,
    norm: Norm<'w>,
    layers: Vec<Layer<'w>>,
}

#[derive(Debug)]
struct Layer<'w> {
    q: Linear<'w>,
    k: Linear<'w>,
    v: Linear<'w>,
    output: Linear<'w>,
    attention_norm: Norm<'w>,
    up: Linear<'w>,
    down: Linear<'w>,
    ffn_norm: Norm<'w>,
}

impl<'w> Encoder<'w> {
    /// Finds the tensors of an encoder of the given shape.
    fn new(spec: &Spec, tensors: &'w Tensors) -> Result<Self, LoadError> {
        let prefix = prefix(tensors)?;
        let find = Finder::new(tensors, prefix.to_owned());
        let hidden = spec.hidden;
        let layers = (0..spec.layers.len()).map(|at| {
            let find = Finder::new(tensors, format!("{prefix}encoder.layer.{at}."));
            let square = |name: &str| find.linear(&[name], [hidden, hidden]);
            Ok(Layer {
                q: square("attention.self.query")?,
                k: square("attention.self.key")?,
                v: square("attention.self.value")?,
                output: square("attention.output.dense")?,
                attention_norm: find.norm("attention.output.LayerNorm", hidden)?,
                up: find.linear(&["intermediate.dense"], [spec.intermediate, hidden])?,
                down: find.linear(&["output.dense"], [hidden, spec.intermediate])?,
                ffn_norm: find.norm("output.LayerNorm", hidden)?,
            })
        });
        let types = tensors.shape(&format!("{prefix}embeddings.token_type_embeddings.weight"));
        let types = types.and_then(|shape| shape.first().copied()).unwrap_or(2).max(1);
        Ok(Self {
            words: find.linear(&["embeddings.word_embeddings"], [spec.vocabulary, hidden])?,
            positions: find.linear(&["embeddings.position_embeddings"], [spec.context, hidden])?,
            types: find.linear(&["embeddings.token_type_embeddings"], [types, hidden])?,
            norm: find.norm("embeddings.LayerNorm", hidden)?,
            layers: layers.collect::<Result<_, LoadError>>()?,
        })
    }

    /// Computes the hidden states of a text, `[tokens, hidden]`, whose tokens are in the vocabulary and, from the first position
    /// on, fit the context.
    fn forward(
        &self,
        spec: &Spec,
        multiplier: Multiplier,
        threads: &Threads,
        (first, tokens): (usize, &[u32]),
    ) -> Result<Vec<f32>, RunError> {
        let (hidden, rows) = (spec.hidden, tokens.len());
        let ids: Vec<usize> = tokens.iter().map(|id| *id as usize).collect();
        let mut x = vec![0.0; rows * hidden];
        let mut added = vec![0.0; rows * hidden];
        decode(&self.words, &ids, &mut x);
        decode(&self.positions, &(first..first + rows).collect::<Vec<_>>(), &mut added);
        math::add(&mut x, &added);
        decode(&self.types, &vec![0; rows], &mut added);
        math::add(&mut x, &added);
        normalise(spec, threads, self.norm, &mut x);
        let mut inner = vec![0.0; rows * spec.intermediate];
        let [mut q, mut k, mut v, mut mixed] = [(); 4].map(|()| vec![0.0; rows * hidden]);
        for (at, layer) in self.layers.iter().enumerate() {
            Linear::apply_all(multiplier, [&layer.q, &layer.k, &layer.v], (rows, &x), [&mut q, &mut k, &mut v]);
            let mut cache = Cache::new(spec, KvType::F32);
            cache.append(0, &k, &v);
            // Every token looks at all, as the last one of a sequence does.
            attend(spec, threads, &vec![(cache.layer(0), rows - 1); rows], &q, &mut mixed);
            layer.output.apply(multiplier, rows, &mixed, &mut added);
            math::add(&mut x, &added);
            normalise(spec, threads, layer.attention_norm, &mut x);
            layer.up.apply(multiplier, rows, &x, &mut inner);
            math::each_row(threads, &mut inner, spec.intermediate, |_, row| math::activate(spec.activation, row));
            layer.down.apply(multiplier, rows, &inner, &mut added);
            math::add(&mut x, &added);
            normalise(spec, threads, layer.ffn_norm, &mut x);
            if !math::is_finite(&x) {
                return Err(RunError::NotFinite { place: format!("layer {at}") });
            }
        }
        Ok(x)
    }
}

/// Resolves the shape of an encoder.
fn encoder(facts: &Facts) -> Result<Spec, LoadError> {
    // The sizes are read as a decoder's are; the rest is fixed.
    let mut spec = spec::decoder(facts, &spec::ENCODER, None, None)?;
    if !spec.hidden.is_multiple_of(spec.heads) {
        return Err(LoadError::Unsupported {
            what: format!("{} heads that share {} elements", spec.heads, spec.hidden),
        });
    }
    spec.norm.centres = true;
    spec.kv_heads = spec.heads;
    spec.head_dim = spec.hidden / spec.heads;
    spec.value_dim = spec.head_dim;
    spec.attention_scale = (spec.head_dim as f32).powf(-0.5);
    if facts.activation.is_none() {
        spec.activation = Activation::Gelu;
    }
    Ok(spec)
}

/// Names of a model's class and type, reduced.
fn names(facts: &Facts) -> impl Iterator<Item = String> {
    [&facts.architecture, &facts.model_type].into_iter().flatten().map(|name| spec::plain(name))
}

/// Position of the first token. `RoBERTa` counts from the position after that of the token that fills a batch.
fn first_position(facts: &Facts) -> usize {
    if names(facts).any(|name| name.ends_with("roberta")) {
        facts.tokens.pad.and_then(|pad| usize::try_from(pad).ok()).map_or(2, |pad| pad.saturating_add(1))
    } else {
        0
    }
}

fn decode(table: &Linear<'_>, ids: &[usize], out: &mut [f32]) {
    table.weights.decode_rows(ids, out).expect("tokens are in the vocabulary and fit the context");
}

fn normalise(spec: &Spec, threads: &Threads, norm: Norm<'_>, x: &mut [f32]) {
    math::each_row(threads, x, spec.hidden, |_, row| {
        let input = row.to_vec();
        math::norm(spec.norm, &input, norm.weight, norm.bias, row);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_share_the_states_evenly() {
        let read = |heads| {
            let facts = Facts {
                hidden_size: Some(384),
                heads: Some(heads),
                layers: Some(1),
                vocabulary: Some(8),
                intermediate_size: Some(8),
                ..Facts::default()
            };
            encoder(&facts)
        };
        let spec = read(6).expect("they do");
        assert!((spec.head_dim, spec.attention_scale) == (64, 0.125) && spec.ropes.is_empty());
        assert!(read(7).expect_err("they do not").to_string().contains("7 heads that share 384 elements"));
        assert!(read(512).expect_err("they do not").to_string().contains("0 as the size of a head"));
    }
}
