//! Embeddings: one vector for a text.

use longshore_manifest::{document::Facts, weights::Source};
use longshore_quant::matmul::{Multiplier, Threads};

use crate::{
    decoder::math,
    encoder::{self, Encoder},
    error::{LoadError, RunError},
    model::{self, Model},
    options::LoadOptions,
    spec::Spec,
    weights::Tensors,
};

/// Way in which the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// The mean of all.
    Mean,
    /// The first, which is that of a token for the class.
    Cls,
    /// The last.
    Last,
}

/// A model that makes one vector of a text: an encoder, or a decoder.
#[derive(Debug)]
pub struct Embedder {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Decoder(Box<Model>),
    Encoder { source: Source, tensors: Box<Tensors>, spec: Box<Spec>, multiplier: Multiplier, threads: Threads },
}

impl Embedder {
    /// Opens a model.
    ///
    /// # Errors
    ///
    /// [`LoadError`], as for [`Model::open`].
    pub fn open(source: Source, options: LoadOptions) -> Result<Self, LoadError> {
        let facts = &source.table().facts;
        if !encoder::is_encoder(facts) {
            return Ok(Self { kind: Kind::Decoder(Box::new(Model::open(source, options)?)) });
        }
        let spec = Box::new(encoder::encoder(facts)?);
        let tensors = Box::new(Tensors::open(&source, &options)?);
        Encoder::new(&spec, &tensors)?;
        let multiplier = Multiplier::new(options.precision);
        let threads = model::threads(options.threads)?;
        Ok(Self { kind: Kind::Encoder { source, tensors, spec, multiplier, threads } })
    }

    /// Where the weights come from, with the companion files.
    #[must_use]
    pub fn source(&self) -> &Source {
        match &self.kind {
            Kind::Decoder(model) => model.source(),
            Kind::Encoder { source, .. } => source,
        }
    }

    /// Facts about the model.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.source().table().facts
    }

    /// Whether the model is an encoder, whose tokens look at all others.
    #[must_use]
    pub fn is_encoder(&self) -> bool {
        matches!(self.kind, Kind::Encoder { .. })
    }

    /// Number of elements of a vector.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.spec().hidden
    }

    /// Number of tokens of the vocabulary.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.spec().vocabulary
    }

    /// Longest text, in tokens.
    #[must_use]
    pub fn max_sequence(&self) -> usize {
        match &self.kind {
            Kind::Decoder(model) => model.max_sequence(),
            Kind::Encoder { spec, .. } => spec.context,
        }
    }

    /// Makes the vector of a text, of length one.
    ///
    /// # Errors
    ///
    /// [`RunError`], as for [`Session::extend`](crate::Session::extend).
    pub fn embed(&self, tokens: &[u32], pooling: Pooling) -> Result<Vec<f32>, RunError> {
        let states = match &self.kind {
            Kind::Decoder(model) => model.session().hidden(tokens)?,
            Kind::Encoder { tensors, spec, multiplier, threads, .. } => {
                self.check(tokens)?;
                let encoder = Encoder::new(spec, tensors).expect("opening has bound the same tensors");
                threads.install(|| encoder.forward(spec, *multiplier, threads, tokens))?
            }
        };
        let width = self.dimensions();
        let mut vector = match pooling {
            Pooling::Cls => states[..width].to_vec(),
            Pooling::Last => states[states.len() - width..].to_vec(),
            Pooling::Mean => {
                let mut sum = vec![0.0; width];
                states.chunks_exact(width).for_each(|state| math::add(&mut sum, state));
                sum
            }
        };
        let length = math::dot(&vector, &vector).sqrt();
        if length > 0.0 {
            math::scale(&mut vector, length.recip());
        }
        Ok(vector)
    }

    fn spec(&self) -> &Spec {
        match &self.kind {
            Kind::Decoder(model) => model.spec(),
            Kind::Encoder { spec, .. } => spec,
        }
    }

    fn check(&self, tokens: &[u32]) -> Result<(), RunError> {
        let (limit, vocabulary) = (self.max_sequence(), self.vocabulary());
        if tokens.is_empty() {
            return Err(RunError::Empty);
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(RunError::Token { token: *token, vocabulary });
        }
        if tokens.len() > limit { Err(RunError::TooLong { found: tokens.len(), limit }) } else { Ok(()) }
    }
}
