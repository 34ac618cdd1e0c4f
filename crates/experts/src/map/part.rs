//! The parts of an expert, and the ranges of its bytes.

use std::collections::BTreeMap;

use longshore_manifest::{
    Digest,
    document::{Part, Quantization, Role, TensorEntry, TensorTable},
};
use longshore_st_format::{Dtype, Shape};

use super::group::{Layer, Place, Projection};

/// Bytes of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExpertRange {
    /// Blob that holds the bytes: the name that the model's source has a path for.
    pub blob: Digest,
    /// Start of the bytes, in bytes from the start of the blob.
    pub offset: u64,
    /// End of the bytes, in bytes from the start of the blob.
    pub end: u64,
}

/// One array of an expert: the values or codes of a projection, or a companion of them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ExpertPart<'m> {
    /// Tensor that holds the array: a stack of all experts, or the expert's own.
    pub tensor: &'m TensorEntry,
    /// Role of the array in the tensor.
    pub role: Role,
    /// Type of the array's elements.
    pub dtype: Dtype,
    /// Shape of the array, without the axis of the experts.
    pub shape: Shape,
    /// Bytes of the array.
    pub range: ExpertRange,
}

impl ExpertRange {
    /// Returns the number of bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end - self.offset
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ExpertPart<'_> {
    /// Returns the coding of the values, or `None` for a plain tensor.
    #[must_use]
    pub fn quantization(&self) -> Option<&Quantization> {
        self.tensor.quantization.as_ref()
    }
}

/// The parts of an expert that is there.
pub(super) fn parts<'t>(table: &'t TensorTable, layer: &Layer, expert: u32) -> Vec<ExpertPart<'t>> {
    let mut found = Vec::new();
    for projection in &layer.projections {
        let (place, parts) = match projection {
            Projection::Stack(place) => {
                let tensor = place.tensor(table);
                let parts =
                    tensor.expert_parts(u64::from(expert)).expect("the first expert has whole bytes of its own");
                let own = tensor.parts.iter().zip(parts).filter(|(whole, part)| !is_shared(layer, whole, part));
                (*place, own.map(|(_, part)| part).collect())
            }
            Projection::Each(places) => {
                let place = places[expert as usize];
                (place, place.tensor(table).parts.clone())
            }
        };
        let tensor = place.tensor(table);
        found.extend(parts.into_iter().map(|part| ExpertPart {
            tensor,
            role: part.role,
            dtype: part.dtype,
            range: range(table, place, &part),
            shape: part.shape,
        }));
    }
    found
}

/// Whether all experts share a part: one that is as long as what one expert has of it.
fn is_shared(layer: &Layer, whole: &Part, part: &Part) -> bool {
    layer.experts > 1 && whole.length == part.length && whole.length > 0
}

fn range(table: &TensorTable, place: Place, part: &Part) -> ExpertRange {
    let blob = part.blob.unwrap_or(place.blob(table).digest);
    ExpertRange { blob, offset: part.offset, end: part.offset.saturating_add(part.length) }
}

/// Bytes of the parts that all experts of a layer share.
pub(super) fn shared_bytes(table: &TensorTable, layers: &BTreeMap<u32, Layer>) -> u64 {
    let mut bytes = 0_u64;
    for layer in layers.values() {
        for projection in &layer.projections {
            let Projection::Stack(place) = projection else { continue };
            let tensor = place.tensor(table);
            let parts = tensor.parts.iter().zip(tensor.expert_parts(0).unwrap_or_default());
            let shared = parts.filter(|(whole, part)| is_shared(layer, whole, part));
            bytes = shared.map(|(whole, _)| whole.length).fold(bytes, u64::saturating_add);
        }
    }
    bytes
}

/// The ranges of the whole tensors that hold a layer's experts.
pub(super) fn wholes(table: &TensorTable, layer: &Layer) -> Vec<ExpertRange> {
    let of = |place: &Place| {
        let place = *place;
        place.tensor(table).parts.iter().map(move |part| range(table, place, part)).collect::<Vec<_>>()
    };
    let places = layer.projections.iter().flat_map(|projection| match projection {
        Projection::Stack(place) => std::slice::from_ref(place),
        Projection::Each(places) => places,
    });
    places.flat_map(of).collect()
}

/// Sorts ranges and joins those that touch or overlap. Empty ones are left out.
pub(super) fn union(ranges: impl Iterator<Item = ExpertRange>) -> Vec<ExpertRange> {
    let mut sorted: Vec<_> = ranges.filter(|range| !range.is_empty()).collect();
    sorted.sort_unstable();
    let mut joined: Vec<ExpertRange> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match joined.last_mut() {
            Some(last) if last.blob == range.blob && range.offset <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_joined() {
        let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
        let [a, b] = if a < b { [a, b] } else { [b, a] };
        let range = |blob, offset, end| ExpertRange { blob, offset, end };
        let found = union(
            [range(b, 5, 9), range(a, 10, 20), range(a, 0, 10), range(a, 25, 25), range(a, 22, 30), range(b, 6, 7)]
                .into_iter(),
        );
        assert_eq!(found, [range(a, 0, 20), range(a, 22, 30), range(b, 5, 9)]);
    }
}
