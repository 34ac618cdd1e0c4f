//! Writing one planned blob.

use longshore_manifest::{
    Progress,
    document::Role,
    store::{Added, BlobWriter, Ingest},
};
use longshore_quant::{EncodeBuffers, EncodeStats, Encoder, FloatType, Profile, Scheme};
use longshore_st_format::LayoutPart;

use super::{
    ImportError,
    reader::{ReadBuffers, TensorReader},
    shards::ShardFiles,
    warnings,
};
use crate::plan::{PlannedBlob, PlannedTensor};

/// What writes blobs: one for each thread, its buffers used again for every blob.
pub(super) struct BlobBuilder<'a> {
    pub(super) ingest: &'a Ingest<'a>,
    pub(super) files: &'a ShardFiles<'a>,
    pub(super) profile: Profile,
    pub(super) allow_non_finite: bool,
    pub(super) progress: &'a dyn Progress,
    /// Asked before every chunk.
    pub(super) stop: &'a (dyn Fn() -> bool + Sync),
    pub(super) buffers: Buffers,
}

/// Memory that is used again.
#[derive(Default)]
pub(super) struct Buffers {
    read: ReadBuffers,
    weight: Vec<u8>,
    scale: Vec<u8>,
    bias: Vec<u8>,
}

/// A blob or file that is in the ingest.
pub(super) struct Done {
    pub(super) added: Added,
    /// What a user should know of its tensors.
    pub(super) warnings: Vec<String>,
}

impl BlobBuilder<'_> {
    /// Writes the header, then every tensor in the order of the blob's data, then hashes what was written ahead.
    pub(super) fn build(&mut self, blob: &PlannedBlob) -> Result<Done, ImportError> {
        let mut writer = self.ingest.blob_like(&blob.name, blob.layout.file_len())?;
        writer.write_at(0, blob.layout.header())?;
        let mut order: Vec<usize> = (0..blob.tensors.len()).collect();
        order.sort_by_key(|&at| part(blob, &blob.tensors[at], Role::Weight).range.start);
        let mut stats = vec![EncodeStats::default(); blob.tensors.len()];
        for at in order {
            let tensor = &blob.tensors[at];
            match tensor.scheme {
                None => self.copy(&mut writer, blob, tensor)?,
                Some(scheme) => stats[at] = self.quantize(&mut writer, blob, tensor, scheme)?,
            }
        }
        let added = writer.finish()?;
        assert_eq!(added.size, blob.layout.file_len(), "BUG: the blob {} is not as long as planned", blob.name);
        let warnings = blob.tensors.iter().zip(&stats).flat_map(|(tensor, stats)| warnings::of(&tensor.name, stats));
        Ok(Done { added, warnings: warnings.collect() })
    }

    fn copy(
        &mut self,
        writer: &mut BlobWriter<'_>,
        blob: &PlannedBlob,
        tensor: &PlannedTensor,
    ) -> Result<(), ImportError> {
        let start = part(blob, tensor, Role::Weight).range.start;
        let mut reader = TensorReader::new(self.files, tensor);
        loop {
            check(self.stop)?;
            let Some(piece) = reader.next(&mut self.buffers.read)? else { return Ok(()) };
            for (at, bytes) in piece.runs() {
                writer.write_at(start + at, bytes)?;
            }
            self.progress.advance(piece.len());
        }
    }

    fn quantize(
        &mut self,
        writer: &mut BlobWriter<'_>,
        blob: &PlannedBlob,
        tensor: &PlannedTensor,
        scheme: Scheme,
    ) -> Result<EncodeStats, ImportError> {
        let (encoder, float) = encoder(tensor, scheme, self.profile);
        let start = |role| part(blob, tensor, role).range.start;
        let bias_start = if scheme.has_bias() { start(Role::Bias) } else { 0 };
        let places = [start(Role::Weight), start(Role::Scale), bias_start];
        let group_bytes = scheme.group_size() as usize * float.size();
        let encoded_len = |groups| {
            scheme.encoded_len(groups, float).expect("codes take less memory than the floats that they are for")
        };
        let group = encoded_len(1);
        let mut reader = TensorReader::new(self.files, tensor);
        let mut stats = EncodeStats::default();
        let Buffers { read, weight, scale, bias } = &mut self.buffers;
        loop {
            check(self.stop)?;
            let Some(piece) = reader.next(read)? else { return Ok(stats) };
            for (at, bytes) in piece.runs() {
                let lens = encoded_len(bytes.len() / group_bytes);
                weight.resize(lens.weight, 0);
                scale.resize(lens.scale, 0);
                bias.resize(lens.bias, 0);
                stats += encoder
                    .encode(bytes, EncodeBuffers { weight, scale, bias })
                    .map_err(|source| ImportError::Encode { tensor: tensor.name.clone(), source })?;
                if stats.non_finite > 0 && !self.allow_non_finite {
                    return Err(ImportError::NonFinite { tensor: tensor.name.clone(), count: stats.non_finite });
                }
                let groups_before = at / group_bytes as u64;
                let parts = [(group.weight, &*weight), (group.scale, &*scale), (group.bias, &*bias)];
                for (start, (each, encoded)) in places.into_iter().zip(parts) {
                    writer.write_at(start + groups_before * each as u64, encoded)?;
                }
            }
            self.progress.advance(piece.len());
        }
    }
}

/// What quantizes a tensor, and the type that it reads.
fn encoder(tensor: &PlannedTensor, scheme: Scheme, profile: Profile) -> (Encoder, FloatType) {
    let float = tensor.dtype.name().parse().expect("the plan quantizes float tensors only");
    (Encoder::new(scheme, float, profile), float)
}

/// Where a part of a planned tensor lies in its blob.
pub(super) fn part<'b>(blob: &'b PlannedBlob, tensor: &PlannedTensor, role: Role) -> LayoutPart<'b> {
    let name = format!("{}{}", tensor.name, role.suffix());
    blob.layout.get(&name).expect("the plan gives every part of a tensor a place in the layout")
}

fn check(stop: &dyn Fn() -> bool) -> Result<(), ImportError> {
    if stop() { Err(ImportError::Cancelled) } else { Ok(()) }
}
