//! Reading an adapter: its document, and the names and shapes of its tensors.

use std::collections::BTreeMap;

use longshore_model::{Facts, gguf::architectures};

use super::{
    error::AdapterError,
    format::Format,
    gguf::{self, Alternating},
    names::{Name, Part, counterpart},
    settings::Settings,
};

/// A tensor of an adapter: its name and its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Name in the adapter's file.
    pub name: String,
    /// Extents, outermost first.
    pub shape: Vec<u64>,
}

impl Listed {
    /// Lists a tensor.
    #[must_use]
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<u64>>) -> Self {
        Self { name: name.into(), shape: shape.into() }
    }
}

/// An adapter, as its document and the headers of its file describe it.
#[derive(Debug)]
pub struct Adapter {
    pub(super) settings: Settings,
    pub(super) tensors: Vec<Listed>,
    /// The pairs of factors by module and depth.
    pub(super) pairs: Vec<Pair>,
    /// Tensors that replace those of the base, with the names of these.
    pub(super) whole: Vec<(String, usize)>,
}

/// Two factors. Numbers are places in the list of the adapter's tensors.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) module: String,
    pub(super) a: usize,
    pub(super) b: usize,
    pub(super) magnitude: Option<usize>,
    pub(super) is_embedding: bool,
    /// The heads within which the rows of B alternate.
    pub(super) alternating: Option<Alternating>,
}

/// The tensors of one module, as they are found.
#[derive(Default)]
struct Parts {
    a: Option<usize>,
    b: Option<usize>,
    magnitude: Option<usize>,
    is_embedding: bool,
    alternating: Option<Alternating>,
}

impl Adapter {
    /// Reads an adapter's document, and takes the names of its tensors apart. The document is `adapter_config.json`, or an object of
    /// the [`GGUF_KEYS`](super::GGUF_KEYS) that a file of llama.cpp has in its metadata. An adapter of such a file is to be told of
    /// its base by [`Self::with_base`].
    ///
    /// # Errors
    ///
    /// [`AdapterError::Config`], [`AdapterError::Setting`], [`AdapterError::Metadata`] or [`AdapterError::Pattern`] if the document
    /// cannot be merged by, [`AdapterError::Form`] if a tensor cannot, [`AdapterError::Half`] if a factor is missing.
    pub fn read(config: &[u8], tensors: &[Listed]) -> Result<Self, AdapterError> {
        let settings = Settings::parse(config)?;
        let (mut found, mut whole) = (BTreeMap::<(String, usize), Parts>::new(), Vec::new());
        for (at, tensor) in tensors.iter().enumerate() {
            let (Name { module, part, depth }, alternating) = match &settings.ggml {
                Some((_, map)) => gguf::name(*map, &tensor.name)?,
                None => (Name::parse(settings.format, &tensor.name), None),
            };
            let twice = |first: usize, module: &str| AdapterError::Twice {
                base: module.to_owned(),
                first: tensors[first].name.clone(),
                second: tensor.name.clone(),
            };
            if part == Part::Whole {
                whole.push((module, at));
                continue;
            }
            if part == Part::Bias {
                let expected = "no bias of a factor, which cannot be part of a weight";
                return Err(AdapterError::Setting { setting: "lora_bias", found: tensor.name.clone(), expected });
            }
            let parts = found.entry((module.clone(), depth)).or_default();
            parts.alternating = parts.alternating.take().or(alternating);
            parts.is_embedding |= matches!(part, Part::EmbeddingA | Part::EmbeddingB);
            let place = match part {
                Part::A | Part::EmbeddingA => &mut parts.a,
                Part::B | Part::EmbeddingB => &mut parts.b,
                _ => &mut parts.magnitude,
            };
            if let Some(first) = place.replace(at) {
                return Err(twice(first, &module));
            }
        }
        let mut pairs = Vec::with_capacity(found.len());
        for ((module, _), Parts { a, b, magnitude, is_embedding, alternating }) in found {
            let (Some(a), Some(b)) = (a, b) else {
                let found = a.or(b).or(magnitude).map(|at| tensors[at].name.clone()).unwrap_or_default();
                return Err(AdapterError::Half { missing: counterpart(&found), found });
            };
            if settings.is_dora && magnitude.is_none() {
                let missing = format!("the magnitudes of {module}");
                return Err(AdapterError::Half { found: tensors[a].name.clone(), missing });
            }
            pairs.push(Pair { module, a, b, magnitude, is_embedding, alternating });
        }
        Ok(Self { settings, tensors: tensors.to_vec(), pairs, whole })
    }

    /// Tells the adapter of the base that it is fitted to, which it may have to be of llama.cpp: its architecture, and the number of
    /// heads, which the order of some rows goes by. The other forms say nothing of the base and need nothing of it.
    ///
    /// # Errors
    ///
    /// [`AdapterError::Architecture`] if the adapter is for another architecture than that of `facts`. Nothing is compared where either
    /// is not known.
    pub fn with_base(mut self, facts: &Facts) -> Result<Self, AdapterError> {
        let Some((found, _)) = &self.settings.ggml else { return Ok(self) };
        let of_base = architectures(facts);
        if !of_base.is_empty() && !of_base.contains(&found.as_str()) {
            return Err(AdapterError::Architecture { found: found.clone(), expected: of_base.join(" or ") });
        }
        for alternating in self.pairs.iter_mut().filter_map(|pair| pair.alternating.as_mut()) {
            alternating.count(facts);
        }
        Ok(self)
    }

    /// The program whose form the adapter has.
    #[must_use]
    pub fn format(&self) -> Format {
        self.settings.format
    }

    /// Whether a row of some weight gets a magnitude.
    #[must_use]
    pub fn has_magnitudes(&self) -> bool {
        self.pairs.iter().any(|pair| pair.magnitude.is_some())
    }

    pub(super) fn name(&self, at: usize) -> String {
        self.tensors[at].name.clone()
    }
}
