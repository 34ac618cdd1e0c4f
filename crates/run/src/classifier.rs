//! Classification logits of encoders.

use longshore_manifest::{document::Facts, weights::Source};

use crate::{
    decoder::math,
    encoder::{self, OpenEncoder},
    error::{LoadError, RunError},
    options::LoadOptions,
    weights::{Finder, Linear, Tensors},
};

/// An encoder with a head that sorts texts into classes: the classes of transformers for sequence classification with BERT and
/// `RoBERTa`. Decoders sort texts by [`classify`](crate::generate::classify).
///
/// ```no_run
/// # use longshore_run::{Classifier, LoadOptions, argmax, manifest::weights::Source, text::{Tokenizer, labels}};
/// let classifier = Classifier::open(Source::open("./bert-sentiment")?, &LoadOptions::default())?;
/// let tokenizer = Tokenizer::open(classifier.source())?;
/// let names = labels(classifier.source())?;
/// let logits = classifier.classify(&tokenizer.encode_whole("I loved it.")?)?;
/// let best = argmax(&logits) as usize;
/// println!("{}: {}", names.get(best).map_or("unnamed", String::as_str), logits[best]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Classifier {
    encoder: OpenEncoder,
    classes: usize,
}

impl Classifier {
    /// Opens a model.
    ///
    /// # Errors
    ///
    /// [`LoadError`], as for [`Model::open`](crate::Model::open): [`LoadError::Kind`] for a model that is no encoder, and
    /// [`LoadError::MissingTensor`] for an encoder without a head.
    pub fn open(source: Source, options: &LoadOptions) -> Result<Self, LoadError> {
        if !encoder::is_encoder(&source.table().facts) {
            let name = source.name().to_owned();
            return Err(LoadError::Kind { name, expected: "an encoder", found: "none, which has no head for classes" });
        }
        let encoder = OpenEncoder::open(source, options)?;
        let classes = Head::new(encoder.spec.hidden, &encoder.tensors)?.output.out();
        Ok(Self { encoder, classes })
    }

    /// Where the weights come from, with the companion files.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.encoder.source
    }

    /// Facts about the model.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.source().table().facts
    }

    /// Number of classes, and of the logits of a text.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Longest text, in tokens.
    #[must_use]
    pub fn max_sequence(&self) -> usize {
        self.encoder.max_sequence()
    }

    /// Computes the logits of a text, one for each class. Softmax over them gives the probabilities of classes of which one holds,
    /// the logistic function of each those of classes that hold by themselves.
    ///
    /// # Errors
    ///
    /// [`RunError`], as for [`Session::extend`](crate::Session::extend).
    pub fn classify(&self, tokens: &[u32]) -> Result<Vec<f32>, RunError> {
        let states = self.encoder.states(tokens)?;
        let hidden = self.encoder.spec.hidden;
        let head = Head::new(hidden, &self.encoder.tensors).expect("opening has bound the same tensors");
        let mut inner = vec![0.0; hidden];
        let mut logits = vec![0.0; self.classes];
        head.dense.apply(self.encoder.multiplier, 1, &states[..hidden], &mut inner);
        for x in &mut inner {
            *x = x.tanh();
        }
        head.output.apply(self.encoder.multiplier, 1, &inner, &mut logits);
        if math::is_finite(&logits) { Ok(logits) } else { Err(RunError::NotFinite { place: "the head".to_owned() }) }
    }
}

/// The two linear layers that make logits of the first token's state.
#[derive(Debug)]
struct Head<'w> {
    dense: Linear<'w>,
    output: Linear<'w>,
}

impl<'w> Head<'w> {
    fn new(hidden: usize, tensors: &'w Tensors) -> Result<Self, LoadError> {
        // BERT pools within the encoder, and RoBERTa in its head.
        let pooler = format!("{}pooler.dense", encoder::prefix(tensors)?);
        let (dense, output) = if tensors.contains("classifier.out_proj.weight") {
            ("classifier.dense", "classifier.out_proj")
        } else {
            (pooler.as_str(), "classifier")
        };
        let find = Finder::new(tensors, String::new());
        let classes = tensors.shape(&format!("{output}.weight")).and_then(|shape| shape.first().copied());
        let output = find.linear(&[output], [classes.unwrap_or(1).max(1), hidden])?;
        Ok(Self { dense: find.linear(&[dense], [hidden, hidden])?, output })
    }
}
