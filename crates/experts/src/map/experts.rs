//! The experts of a model, by layer.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use longshore_manifest::{Digest, document::TensorTable, weights::Source};

use super::{
    error::ExpertMapError,
    group::{self, Layer, Place, Tensors},
    part::{self, ExpertPart, ExpertRange},
    resident::{self, Resident, ResidentKind},
};
use crate::key::ExpertKey;

/// Places of the bytes of every expert of a model, in every projection. What every token uses (shared experts, routers, attention,
/// embeddings) is apart, as [`Resident`].
///
/// The map is made from the tensor table alone and reads no weights. Experts that an import stacked, that the checkpoint stacks, or
/// that have tensors of their own are all found, and so are the stacks of GGUF files under ggml's names.
///
/// The experts of a draft head, whose tensors begin with `mtp`, are those of the layers after the decoder's.
#[derive(Debug, Clone)]
pub struct ExpertMap {
    table: Arc<TensorTable>,
    layers: BTreeMap<u32, Layer>,
    resident: Vec<(Place, ResidentKind)>,
    /// Bytes of parts of experts' tensors that all experts share.
    shared_parts: u64,
    component: Option<String>,
}

/// Experts of one layer.
#[derive(Debug, Clone, Copy)]
pub struct ExpertLayer<'m> {
    map: &'m ExpertMap,
    number: u32,
    layer: &'m Layer,
}

impl ExpertMap {
    /// Maps the experts of a `source`: a stored model, a directory, or files. Its tensors are those outside of pipeline components.
    ///
    /// # Errors
    ///
    /// [`ExpertMapError`] for experts that cannot be told apart: one that is missing, or two that share a name.
    pub fn new(source: &Source) -> Result<Self, ExpertMapError> {
        Self::of_table(Arc::clone(source.table()), None)
    }

    /// Maps the experts of a tensor table, or of one `component` of a pipeline.
    ///
    /// # Errors
    ///
    /// [`ExpertMapError::Component`] for a component without tensors, and the errors of [`Self::new`].
    pub fn of_table(table: Arc<TensorTable>, component: Option<&str>) -> Result<Self, ExpertMapError> {
        if let Some(wanted) = component
            && !table.blobs.iter().any(|blob| blob.component.as_deref() == Some(wanted))
        {
            let mut found: Vec<_> = table.blobs.iter().filter_map(|blob| blob.component.clone()).collect();
            found.sort();
            found.dedup();
            return Err(ExpertMapError::Component { component: wanted.to_owned(), found });
        }
        let Tensors { layers, others } = group::group(&table, component)?;
        let resident = others.into_iter().map(|place| (place, resident::kind(&table, &layers, place))).collect();
        let shared_parts = part::shared_bytes(&table, &layers);
        Ok(Self { layers, resident, shared_parts, component: component.map(str::to_owned), table })
    }

    /// Returns the component of the pipeline whose experts these are.
    #[must_use]
    pub fn component(&self) -> Option<&str> {
        self.component.as_deref()
    }

    /// Whether the model has no experts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Returns the number of experts in all layers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.layers.values().map(|layer| layer.experts as usize).sum()
    }

    /// Iterates over the layers that have experts, in order.
    pub fn layers(&self) -> impl Iterator<Item = ExpertLayer<'_>> {
        self.layers.iter().map(|(number, layer)| ExpertLayer { map: self, number: *number, layer })
    }

    /// Returns a layer by its number, or `None` if it has no experts.
    #[must_use]
    pub fn layer(&self, number: u32) -> Option<ExpertLayer<'_>> {
        self.layers.get(&number).map(|layer| ExpertLayer { map: self, number, layer })
    }

    /// Iterates over all experts, by layer and number.
    pub fn keys(&self) -> impl Iterator<Item = ExpertKey> {
        self.layers
            .iter()
            .flat_map(|(layer, found)| (0..found.experts).map(|expert| ExpertKey { layer: *layer, expert }))
    }

    /// Whether the model has this expert.
    #[must_use]
    pub fn contains(&self, key: ExpertKey) -> bool {
        self.layers.get(&key.layer).is_some_and(|layer| key.expert < layer.experts)
    }

    /// Returns the parts of an expert: of every projection its values or codes, and their companions. `None` if there is no such expert.
    #[must_use]
    pub fn parts(&self, key: ExpertKey) -> Option<Vec<ExpertPart<'_>>> {
        let layer = self.layers.get(&key.layer).filter(|layer| key.expert < layer.experts)?;
        Some(part::parts(&self.table, layer, key.expert))
    }

    /// Returns the ranges of an expert's bytes, ranges that touch joined, in the order of the table's blobs and of the bytes in each.
    /// `None` if there is no such expert.
    #[must_use]
    pub fn ranges(&self, key: ExpertKey) -> Option<Vec<ExpertRange>> {
        Some(part::union(self.parts(key)?.into_iter().map(|part| part.range)))
    }

    /// Returns the union of the ranges of several experts of a layer. Experts that the layer does not have are left out.
    #[must_use]
    pub fn ranges_of(&self, layer: u32, experts: &[u32]) -> Vec<ExpertRange> {
        let parts = experts.iter().filter_map(|expert| self.parts(ExpertKey { layer, expert: *expert }));
        part::union(parts.flatten().map(|part| part.range))
    }

    /// Returns the size of an expert in bytes, or `None` if there is no such expert.
    #[must_use]
    pub fn bytes(&self, key: ExpertKey) -> Option<u64> {
        let parts = self.parts(key)?;
        Some(parts.iter().map(|part| part.range.len()).fold(0, u64::saturating_add))
    }

    /// Returns the size of the largest expert in bytes: what a slot has to hold.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.keys().filter_map(|key| self.bytes(key)).max().unwrap_or(0)
    }

    /// Iterates over the tensors that are no expert's own, in the order of the table.
    pub fn resident(&self) -> impl Iterator<Item = Resident<'_>> {
        self.resident.iter().map(|(place, kind)| Resident::new(place.tensor(&self.table), *kind))
    }

    /// Returns the bytes of what every token uses: the resident tensors, and the parts that all experts share.
    #[must_use]
    pub fn shared_bytes(&self) -> u64 {
        let tensors = self.resident.iter().map(|(place, _)| place.tensor(&self.table).byte_len());
        tensors.fold(self.shared_parts, u64::saturating_add)
    }

    /// Returns the blobs that hold experts, each with the end of the last byte of an expert in it, in bytes from the start of the
    /// blob.
    #[must_use]
    pub fn blobs(&self) -> BTreeMap<Digest, u64> {
        let mut ends = BTreeMap::new();
        for range in self.layers.values().flat_map(|layer| part::wholes(&self.table, layer)) {
            let end = ends.entry(range.blob).or_insert(0);
            *end = range.end.max(*end);
        }
        ends
    }
}

impl<'m> ExpertLayer<'m> {
    /// Returns the number of the layer.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns the prefix of the names of the experts' tensors, such as `model.layers.0.mlp.experts`.
    #[must_use]
    pub fn group(&self) -> &'m str {
        &self.layer.group
    }

    /// Returns the numbers of the experts.
    #[must_use]
    pub fn experts(&self) -> Range<u32> {
        0..self.layer.experts
    }

    /// Returns the size of all experts in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let keys = self.experts().map(|expert| ExpertKey { layer: self.number, expert });
        keys.filter_map(|key| self.map.bytes(key)).fold(0, u64::saturating_add)
    }
}
