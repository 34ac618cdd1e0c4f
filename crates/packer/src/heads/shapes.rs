//! Shapes of tensors by name, and what a head has to fit.

use std::collections::BTreeMap;

use longshore_manifest::document::Facts;

use super::error::HeadError;

/// Shapes of tensors, by name.
#[derive(Debug)]
pub(super) struct Shapes<'t>(BTreeMap<&'t str, &'t [u64]>);

/// The model that a head helps, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) hidden: Option<u64>,
    pub(super) vocabulary: Option<u64>,
    pub(super) layers: Option<u64>,
}

impl<'t> Shapes<'t> {
    pub(super) fn new(tensors: impl IntoIterator<Item = (&'t str, &'t [u64])>) -> Self {
        Self(tensors.into_iter().collect())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'t str> {
        self.0.keys().copied()
    }

    /// The shape of a tensor, or of the weight of a module.
    pub(super) fn get(&self, name: &str) -> Option<&'t [u64]> {
        self.0.get(name).or_else(|| self.0.get(&*format!("{name}.weight"))).copied()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The names among `wanted` that nothing has.
    pub(super) fn missing(&self, wanted: impl IntoIterator<Item = String>) -> Vec<String> {
        wanted.into_iter().filter(|name| !self.has(name)).collect()
    }

    /// Checks the shape of a tensor that may be missing. An extent that is `None` may be any. `why` says what states the shape.
    pub(super) fn check(
        &self,
        kind: &'static str,
        name: &str,
        expected: &[Option<u64>],
        why: &str,
    ) -> Result<(), HeadError> {
        let Some(found) = self.get(name) else { return Ok(()) };
        let fits = |(found, expected): (&u64, &Option<u64>)| expected.is_none_or(|expected| expected == *found);
        if found.len() == expected.len() && found.iter().zip(expected).all(fits) {
            return Ok(());
        }
        let extents: Vec<String> = expected
            .iter()
            .map(|extent| extent.map_or_else(|| "any".to_owned(), |extent| extent.to_string()))
            .collect();
        let expected = format!("[{}]: {why}", extents.join(", "));
        let tensor = if self.0.contains_key(name) { name.to_owned() } else { format!("{name}.weight") };
        Err(HeadError::Shape { kind, tensor, found: found.to_vec(), expected })
    }
}

impl Target {
    /// The target whose configuration states `facts`, or whose embedding tells.
    pub(super) fn of(facts: &Facts, tensors: &Shapes<'_>) -> Self {
        let is_embedding = |name: &&str| name.ends_with("embed_tokens.weight");
        let embedding = tensors.names().filter(is_embedding).min_by_key(|name| name.len());
        let shape = embedding.and_then(|name| tensors.get(name)).filter(|shape| shape.len() == 2);
        Self {
            hidden: facts.hidden_size.or(shape.map(|shape| shape[1])),
            // Rows of the embedding that no token has are none of the vocabulary, yet a head may have them, too.
            vocabulary: shape.map(|shape| shape[0]).or(facts.vocabulary),
            layers: facts.layers,
        }
    }
}
