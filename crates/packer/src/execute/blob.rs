//! Writing one planned blob.

use longshore_manifest::{
    Progress,
    document::{Loss, Role},
    store::{Added, BlobWriter},
};
use longshore_quant::{EncodeStats, FloatType, GlobalScale, Scheme};
use longshore_st_format::LayoutPart;

use super::{
    ImportError, ImportOptions,
    quantize::{EncodedRun, Quantizer},
    repack::Repacker,
    shards::ShardFiles,
    values::{ValueBuffers, ValueReader},
    warnings,
};
use crate::plan::{PlannedBlob, PlannedTensor};

/// What writes blobs: one for each thread, its buffers used again for every blob.
pub(super) struct BlobBuilder<'a> {
    pub(super) files: &'a ShardFiles<'a>,
    pub(super) options: &'a ImportOptions,
    pub(super) progress: &'a dyn Progress,
    /// Asked before every chunk.
    pub(super) stop: &'a (dyn Fn() -> bool + Sync),
    pub(super) buffers: Buffers,
}

/// Memory that is used again.
#[derive(Default)]
pub(super) struct Buffers {
    read: ValueBuffers,
    encoded: EncodedRun,
}

/// A blob or file that is in the ingest.
pub(super) struct Done {
    pub(super) added: Added,
    /// What a user should know of its tensors.
    pub(super) warnings: Vec<warnings::Warning>,
    /// What quantization lost, for each tensor of a blob; empty for a file.
    pub(super) losses: Vec<Option<Loss>>,
}

/// What writing one tensor noticed.
#[derive(Debug, Clone, Default)]
pub(super) struct Noticed {
    pub(super) stats: EncodeStats,
    pub(super) loss: Option<Loss>,
    /// Codes of the source that were NaN by mistake, and were taken for the largest number.
    pub(super) mended: u64,
}

impl BlobBuilder<'_> {
    /// Writes the header, then every tensor in the order of the blob's data, then hashes what was written ahead.
    pub(super) fn build(&mut self, blob: &PlannedBlob, mut writer: BlobWriter<'_>) -> Result<Done, ImportError> {
        writer.write_at(0, blob.layout.header())?;
        let mut order: Vec<usize> = (0..blob.tensors.len()).collect();
        order.sort_by_key(|&at| part(blob, &blob.tensors[at], Role::Weight).range.start);
        let mut noticed = vec![Noticed::default(); blob.tensors.len()];
        for at in order {
            let tensor = &blob.tensors[at];
            noticed[at] = match tensor.scheme {
                None => self.copy(&mut writer, blob, tensor)?,
                Some(scheme) if tensor.is_repacked() => self.repack(&mut writer, blob, tensor, scheme)?,
                Some(scheme) => self.quantize(&mut writer, blob, tensor, scheme)?,
            };
        }
        let added = writer.finish()?;
        assert_eq!(added.size, blob.layout.file_len(), "BUG: the blob {} is not as long as planned", blob.name);
        let all = || blob.tensors.iter().zip(&noticed);
        let mended = all().filter(|(_, noticed)| noticed.mended > 0);
        let warnings = all()
            .flat_map(|(tensor, noticed)| warnings::of(&tensor.name, &noticed.stats))
            .chain(mended.map(|(tensor, noticed)| warnings::mended(&tensor.name, noticed.mended)))
            .collect();
        Ok(Done { added, warnings, losses: noticed.into_iter().map(|noticed| noticed.loss).collect() })
    }

    fn repack(
        &self,
        writer: &mut BlobWriter<'_>,
        blob: &PlannedBlob,
        tensor: &PlannedTensor,
        scheme: Scheme,
    ) -> Result<Noticed, ImportError> {
        let (files, progress, stop) = (self.files, self.progress, self.stop);
        let repacked = Repacker { files, blob, tensor, scheme, writer, progress, stop }.run()?;
        let count = repacked.stats.non_finite;
        if count > 0 && !self.options.allow_non_finite {
            return Err(ImportError::NonFinite { tensor: tensor.name.clone(), count });
        }
        Ok(repacked)
    }

    fn copy(
        &mut self,
        writer: &mut BlobWriter<'_>,
        blob: &PlannedBlob,
        tensor: &PlannedTensor,
    ) -> Result<Noticed, ImportError> {
        let start = part(blob, tensor, Role::Weight).range.start;
        let mut reader = ValueReader::new(self.files, tensor);
        loop {
            check(self.stop)?;
            let Some(piece) = reader.next(&mut self.buffers.read)? else {
                return Ok(Noticed { mended: reader.mended(), ..Noticed::default() });
            };
            for (at, bytes) in piece.runs() {
                writer.write_at(start + at, bytes)?;
            }
            self.progress.advance(piece.read_len());
        }
    }

    fn quantize(
        &mut self,
        writer: &mut BlobWriter<'_>,
        blob: &PlannedBlob,
        tensor: &PlannedTensor,
        scheme: Scheme,
    ) -> Result<Noticed, ImportError> {
        let options = self.options;
        let importance = match &options.importance {
            Some(file) => file.of(tensor)?,
            None => None,
        };
        let mut quantizer = Quantizer::new(tensor, scheme, options.profile, importance.as_ref(), options.measure);
        let start = |role| part(blob, tensor, role).range.start;
        if tensor.global_scale.is_some() {
            let global = self.global_scale(tensor, quantizer.float())?;
            writer.write_at(start(Role::GlobalScale), &global.multiplier().to_le_bytes())?;
            quantizer = quantizer.with_global_scale(global);
        }
        let bias_start = if scheme.has_bias() { start(Role::Bias) } else { 0 };
        let places = [start(Role::Weight), start(Role::Scale), bias_start];
        let (group_bytes, group) = quantizer.group();
        let mut reader = ValueReader::new(self.files, tensor);
        let Buffers { read, encoded } = &mut self.buffers;
        loop {
            check(self.stop)?;
            let Some(piece) = reader.next(read)? else {
                let (stats, loss) = quantizer.finish();
                return Ok(Noticed { stats, loss, mended: reader.mended() });
            };
            for (at, bytes) in piece.runs() {
                quantizer.encode(at, bytes, encoded, options.allow_non_finite)?;
                let groups_before = at / group_bytes as u64;
                let parts =
                    [(group.weight, &encoded.weight), (group.scale, &encoded.scale), (group.bias, &encoded.bias)];
                for (start, (each, encoded)) in places.into_iter().zip(parts) {
                    writer.write_at(start + groups_before * each as u64, encoded)?;
                }
            }
            self.progress.advance(piece.read_len());
        }
    }

    /// Reads a tensor once to choose its global scale.
    fn global_scale(&mut self, tensor: &PlannedTensor, float: FloatType) -> Result<GlobalScale, ImportError> {
        let mut largest = 0.0_f32;
        let mut reader = ValueReader::new(self.files, tensor);
        loop {
            check(self.stop)?;
            let Some(piece) = reader.next(&mut self.buffers.read)? else { break };
            for (_, bytes) in piece.runs() {
                largest = largest.max(float.max_abs(bytes));
            }
        }
        // Of a tensor of zeros, or of numbers too small or large to divide by, the scale changes nothing.
        Ok(GlobalScale::from_max_abs(largest).unwrap_or(GlobalScale::ONE))
    }
}

/// Where a part of a planned tensor lies in its blob.
pub(super) fn part<'b>(blob: &'b PlannedBlob, tensor: &PlannedTensor, role: Role) -> LayoutPart<'b> {
    let name = format!("{}{}", tensor.name, role.suffix());
    blob.layout.get(&name).expect("the plan gives every part of a tensor a place in the layout")
}

fn check(stop: &dyn Fn() -> bool) -> Result<(), ImportError> {
    if stop() { Err(ImportError::Cancelled) } else { Ok(()) }
}
