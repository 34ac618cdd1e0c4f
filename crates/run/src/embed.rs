//! Embeddings: one vector for a text.

use longshore_manifest::{document::Facts, weights::Source};

use crate::{
    decoder::math,
    encoder::{OpenEncoder, is_encoder},
    error::{LoadError, RunError},
    model::Model,
    options::LoadOptions,
    spec::Spec,
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
    Encoder(Box<OpenEncoder>),
}

impl Embedder {
    /// Opens a model.
    ///
    /// # Errors
    ///
    /// [`LoadError`], as for [`Model::open`]; [`LoadError::Rotated`] for a model whose residual stream was rotated when it was imported:
    /// its states are not those of the checkpoint, nor a rotation of them, since the gains of its last norm are in its head.
    pub fn open(source: Source, options: LoadOptions) -> Result<Self, LoadError> {
        if source.rotation().is_some() {
            return Err(LoadError::Rotated { name: source.name().to_owned() });
        }
        let kind = if is_encoder(&source.table().facts) {
            Kind::Encoder(Box::new(OpenEncoder::open(source, &options)?))
        } else {
            Kind::Decoder(Box::new(Model::open(source, options)?))
        };
        Ok(Self { kind })
    }

    /// Where the weights come from, with the companion files.
    #[must_use]
    pub fn source(&self) -> &Source {
        match &self.kind {
            Kind::Decoder(model) => model.source(),
            Kind::Encoder(encoder) => &encoder.source,
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
        matches!(self.kind, Kind::Encoder(_))
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
            Kind::Encoder(encoder) => encoder.max_sequence(),
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
            Kind::Encoder(encoder) => encoder.states(tokens)?,
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
            Kind::Encoder(encoder) => &encoder.spec,
        }
    }
}
