//! Planned tensors that are ranges of the files that they come from.

use longshore_manifest::{
    Digest,
    document::{Arrangement, BlobEntry, Part, Role, TensorEntry},
};

use crate::{
    model::coding::kind::Coding,
    plan::planned::{PlannedBlob, PlannedTensor},
    source::checkpoint::Source,
    tensor::SourceTensor,
};

/// The entry of `blob` if it holds one tensor that is a range of one file. `digests` are the names of the files in the table.
pub(super) fn entry(blob: &PlannedBlob, source: &Source, digests: &[Digest]) -> Option<BlobEntry> {
    let [tensor] = &*blob.tensors else { return None };
    let found = range(tensor, source)?;
    let part = Part {
        role: Role::Weight,
        dtype: found.dtype,
        shape: found.shape.clone(),
        offset: found.range.start,
        length: found.byte_len(),
        blob: None,
    };
    let entry = TensorEntry {
        quantization: tensor.quantization(),
        sources: if found.name == tensor.name { Vec::new() } else { vec![found.name.clone()] },
        ..TensorEntry::new(&tensor.name, tensor.dtype, tensor.shape.clone(), vec![part])
    };
    let mut blob_entry = BlobEntry::new(digests[found.shard], vec![entry]);
    blob_entry.component.clone_from(&blob.component);
    Some(blob_entry)
}

/// The tensor of the source whose bytes are those of a planned tensor.
fn range<'s>(tensor: &PlannedTensor, source: &'s Source) -> Option<&'s SourceTensor> {
    let is_kept = tensor.scheme.is_none()
        && tensor.arrangement == Arrangement::None
        && matches!(tensor.coding, Coding::Plain | Coding::Ggml { .. });
    let [unit] = &*tensor.units else { return None };
    is_kept.then(|| &source.tensors[unit.parts.weight])
}
