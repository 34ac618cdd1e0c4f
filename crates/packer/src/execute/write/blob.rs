//! Writing one planned blob.

use std::sync::Mutex;

use longshore_manifest::{
    Progress,
    document::{Loss, Role},
    store::Added,
};

use super::{
    blocks, copy, quantize,
    quantizer::EncodedPiece,
    repack,
    target::{Noticed, Target},
};
use crate::{
    execute::{
        error::ImportError,
        options::ImportOptions,
        read::{shards::ShardFiles, values::ValueBuffers},
        sink::SinkBlob,
        spare::Spare,
        warnings,
    },
    plan::planned::PlannedBlob,
};

/// Writes blobs. Each thread has one builder, whose buffers are reused for every blob.
pub(in crate::execute) struct BlobBuilder<'a> {
    pub(in crate::execute) files: &'a ShardFiles<'a>,
    pub(in crate::execute) options: &'a ImportOptions,
    pub(in crate::execute) progress: &'a dyn Progress,
    /// Whether to stop. Called before every chunk.
    pub(in crate::execute) stop: &'a (dyn Fn() -> bool + Sync),
    pub(in crate::execute) buffers: Buffers,
    /// Threads that may help with a large tensor.
    pub(in crate::execute) spare: &'a Spare,
    /// The turn to hold the factor of a Hessian: there is one at a time.
    pub(in crate::execute) factor: &'a Mutex<()>,
}

/// Buffers that are reused.
#[derive(Default)]
pub(in crate::execute) struct Buffers {
    read: ValueBuffers,
    encoded: EncodedPiece,
}

/// A finished blob or file in the ingest.
pub(in crate::execute) struct Done {
    pub(in crate::execute) added: Added,
    /// Warnings about the tensors of the blob.
    pub(in crate::execute) warnings: Vec<warnings::Warning>,
    /// Loss of quantization for each tensor of a blob. Empty for a file.
    pub(in crate::execute) losses: Vec<Option<Loss>>,
    /// Whether the codes of each tensor of a blob were chosen by Hessians. Empty for a file.
    pub(in crate::execute) by_hessians: Vec<bool>,
}

impl Done {
    /// A blob that was there, of so many tensors. Nothing is known of how it was made.
    pub(in crate::execute) fn found(added: Added, tensors: usize) -> Self {
        Self { added, warnings: Vec::new(), losses: vec![None; tensors], by_hessians: vec![false; tensors] }
    }
}

impl BlobBuilder<'_> {
    /// Writes the header and every tensor, in the order of the blob's data, and finishes the blob.
    pub(in crate::execute) fn build(
        &mut self,
        blob: &PlannedBlob,
        mut sink: Box<dyn SinkBlob + '_>,
    ) -> Result<Done, ImportError> {
        sink.write_at(0, blob.layout.header())?;
        let mut order: Vec<usize> = (0..blob.tensors.len()).collect();
        order.sort_by_key(|&at| blob.part(&blob.tensors[at], Role::Weight).range.start);
        let mut noticed = vec![Noticed::default(); blob.tensors.len()];
        let mut hashing = None;
        let Self { files, options, progress, stop, spare, factor, .. } = *self;
        let Buffers { read, encoded } = &mut self.buffers;
        for at in order {
            let tensor = &blob.tensors[at];
            let hashing = &mut hashing;
            let target = Target { files, options, progress, stop, spare, blob, tensor, sink: &mut *sink, hashing };
            noticed[at] = match tensor.scheme {
                None => copy::copy(target, read)?,
                Some(scheme) if tensor.is_repacked() => match tensor.coding.mapping() {
                    Some(mapping) => blocks::repack(target, mapping, read, encoded)?,
                    None => repack::repack(target, scheme)?,
                },
                Some(scheme) => quantize::quantize(target, scheme, read, encoded, factor)?,
            };
        }
        if !files.complete(blob, stop)? {
            return Err(ImportError::Cancelled);
        }
        let added = sink.finish()?;
        assert_eq!(added.size, blob.layout.file_len(), "BUG: the blob {} is not as long as planned", blob.name);
        let all = || blob.tensors.iter().zip(&noticed);
        let mended = all().filter(|(_, noticed)| noticed.mended > 0);
        let warnings = all()
            .flat_map(|(tensor, noticed)| warnings::of(&tensor.name, &noticed.stats))
            .chain(mended.map(|(tensor, noticed)| warnings::mended(&tensor.name, noticed.mended)))
            .collect();
        let by_hessians = noticed.iter().map(|noticed| noticed.by_hessians).collect();
        let losses = noticed.into_iter().map(|noticed| noticed.loss).collect();
        Ok(Done { added, warnings, losses, by_hessians })
    }
}
