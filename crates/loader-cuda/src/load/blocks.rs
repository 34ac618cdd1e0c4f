//! Tensors of ggml's blocks, which the host converts before they are copied.

use std::{
    sync::{Arc, PoisonError},
    time::Instant,
};

use longshore_manifest::{
    document::{GgmlBlocks, Role},
    weights::{BlockForm, OpenOptions, Source, Weights, plan::Selection},
};
use longshore_st_format::Dtype;

use super::{ALIGNMENT, Loader, index};
use crate::{
    CallError, CudaError, CudaWeights, LoadOptions,
    driver::{DeviceMemory, Slot, Stream},
};

/// Type of decoded values where none is asked for.
const DECODED: Dtype = Dtype::BF16;

/// The roles of a tensor's parts.
const ROLES: [Role; 4] = [Role::Weight, Role::Scale, Role::Bias, Role::GlobalScale];

/// Whether a source has tensors of ggml's blocks.
pub(super) fn has_blocks(source: &Source) -> bool {
    let mut codings = source.table().tensors().filter_map(|(_, tensor)| tensor.quantization.as_ref());
    codings.any(|coding| GgmlBlocks::of(&coding.quant_type).is_some())
}

impl Loader {
    /// Loads tensors that are stored otherwise, then those of blocks, whose host memory is freed before this returns.
    pub(super) fn load_with_blocks(
        &self,
        source: &Source,
        selection: &Selection,
        options: &LoadOptions<'_>,
    ) -> Result<CudaWeights, CudaError> {
        let started = Instant::now();
        let weights = self.load_others(source, selection, options, Some(false))?;
        let open = OpenOptions {
            selection: selection.clone(),
            dtype: options.dtype.or(options.decode.then_some(DECODED)),
            decode: options.decode,
            blocks: BlockForm::MlxAlone,
            progress: options.progress,
        };
        let host = Weights::open_source(source, &open)?;
        let by_chunks = if options.verify { host.verify(options.progress)?.by_chunks } else { 0 };
        let (memory, places) = self.upload(&host, options)?;
        let mut weights = weights.with_uploaded(&host, memory, &places);
        let (blobs, report) = (host.digests().count(), weights.report_mut());
        report.blobs += blobs;
        report.verified_blobs += if options.verify { blobs } else { 0 };
        report.verified_by_chunks += by_chunks;
        report.time = started.elapsed();
        Ok(weights)
    }

    /// Copies every part of tensors in host memory into one allocation. Returns it with the place of each part.
    fn upload(
        &self,
        host: &Weights,
        options: &LoadOptions<'_>,
    ) -> Result<(Option<DeviceMemory>, Vec<usize>), CudaError> {
        let (mut parts, mut end) = (Vec::new(), 0_u64);
        for tensor in host.iter() {
            for array in ROLES.into_iter().filter_map(|role| tensor.companion(role)) {
                let at = end.next_multiple_of(ALIGNMENT);
                end = at + array.data.len() as u64;
                parts.push((tensor.name(), at, array.data));
            }
        }
        let places = parts.iter().map(|(_, at, _)| index(*at)).collect();
        if end == 0 {
            return Ok((None, places));
        }
        let context = self.inner.device.context();
        let memory = DeviceMemory::new(context, index(end)).map_err(|source| CudaError::Allocate {
            ordinal: context.ordinal(),
            bytes: end,
            free: context.memory().map_or(0, |(free, _)| free),
            tensor: parts.first().map_or_else(String::new, |(name, ..)| (*name).to_owned()),
            source,
        })?;
        let mut slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let fail = |tensor: &str, source| {
            let (ordinal, tensor) = (context.ordinal(), tensor.to_owned());
            CudaError::Copy { ordinal, tensor, source }
        };
        let mut turn = 0;
        let mut copied = Ok(());
        for (name, at, bytes) in &parts {
            let step = self.inner.options.slot_bytes;
            for (number, piece) in bytes.chunks(step).enumerate() {
                if copied.is_err() {
                    break;
                }
                if options.progress.cancelled() {
                    copied = Err(CudaError::Cancelled);
                    break;
                }
                let count = slots.len();
                let slot = &mut slots[turn % count];
                let to = (&memory, index(*at) + number * step);
                copied = send(slot, piece, to, self.stream()).map_err(|source| fail(name, source));
                turn += 1;
                options.progress.advance(piece.len() as u64);
            }
        }
        // No copy may be in flight when the memory is freed or used.
        let last = parts.last().map_or("", |(name, ..)| name);
        for slot in slots.iter_mut() {
            let settled = slot.settle().map_err(|source| fail(last, source));
            copied = copied.and(settled);
        }
        copied.map(|()| (Some(memory), places))
    }
}

/// Queues a copy through a slot.
fn send(
    slot: &mut Slot,
    bytes: &[u8],
    (memory, at): (&DeviceMemory, usize),
    stream: &Arc<Stream>,
) -> Result<(), CallError> {
    slot.buffer()?[..bytes.len()].copy_from_slice(bytes);
    slot.send(bytes.len(), memory, at, stream)
}
