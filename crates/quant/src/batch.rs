//! Encodes whole tensors in batches of eight groups, for the kernels with intrinsics.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::mem;

use crate::{
    EncodeBuffers, EncodeStats, EncodedLen, GlobalScale,
    portable::{EncodeKernel, Params},
};

/// Groups per batch.
pub(crate) const GROUPS: usize = 8;

/// Distance in bytes between the batch in work and the bytes that are prefetched, measured on x86-64. Without
/// prefetching, a core reads from memory at three fifths of the speed; distances of 4 KiB and 12 KiB are a little
/// slower. Other architectures do not prefetch, because nothing was measured on them.
const AHEAD: usize = 8192;

/// Prefetches all of `src` into the cache.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the body is two instructions per cache line")]
#[expect(unsafe_code, reason = "the instruction takes a pointer")]
fn prefetch(src: &[u8]) {
    // A remainder shorter than a cache line lies in the line that the next batch prefetches.
    for line in src.as_chunks::<64>().0 {
        // SAFETY: a prefetch has no effect that the program can observe, and does not fault on any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch(_src: &[u8]) {}

/// Batches that are prepared together. A batch's scales need a chain of dependent divisions; several chains overlap
/// where a single one would leave the core waiting.
const TOGETHER: usize = 4;

/// Encodes a tensor in batches of eight groups. For each batch, `prepare` finds the scales and `finish` packs the
/// codes. `oracle` encodes the batches that `prepare` declines, because their numbers are outside of its shortcuts, and
/// the incomplete batch at the end.
///
/// Always inlined, so that it is compiled with the instructions of its caller.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a closure with vectors must not cross into code without them")]
pub(crate) fn encode<P: Copy>(
    tensor: Tensor<'_>,
    oracle: EncodeKernel,
    prepare: impl Fn(&[u8]) -> Option<P>,
    finish: impl Fn(&P, &[u8], &mut EncodeBuffers<'_>) -> EncodeStats,
) -> EncodeStats {
    let Tensor { params, src, out, src_len, len } = tensor;
    let EncodeBuffers { mut weight, mut scale, mut bias } = out;
    let mut stats = EncodeStats::default();
    let batch_len = GROUPS * src_len;
    let mut ahead = src.get(AHEAD..).unwrap_or_default().chunks_exact(batch_len);
    let (whole, rest) = src.split_at(src.len() - src.len() % batch_len);
    for several in whole.chunks(TOGETHER * batch_len).chain((!rest.is_empty()).then_some(rest)) {
        let mut prepared = [None; TOGETHER];
        for (prepared, src) in prepared.iter_mut().zip(several.chunks_exact(batch_len)) {
            *prepared = prepare(src);
        }
        for (prepared, src) in prepared.iter().zip(several.chunks(batch_len)) {
            // One batch is prefetched at a time, because the prefetches of a burst would wait for each other.
            if let Some(next) = ahead.next() {
                prefetch(next);
            }
            let groups = src.len() / src_len;
            let mut piece = EncodeBuffers { weight: &mut [], scale: &mut [], bias: &mut [] };
            (piece.weight, weight) = mem::take(&mut weight).split_at_mut(groups * len.weight);
            (piece.scale, scale) = mem::take(&mut scale).split_at_mut(groups * len.scale);
            (piece.bias, bias) = mem::take(&mut bias).split_at_mut(groups * len.bias);
            stats += match prepared {
                Some(prepared) => finish(prepared, src, &mut piece),
                None => oracle(params, src, piece),
            };
        }
    }
    stats
}

/// The groups to encode, and the buffers for their parts.
pub(crate) struct Tensor<'a> {
    pub(crate) params: &'a Params<GlobalScale>,
    pub(crate) src: &'a [u8],
    pub(crate) out: EncodeBuffers<'a>,
    /// Bytes of one group in `src`.
    pub(crate) src_len: usize,
    /// Bytes of each part of one group.
    pub(crate) len: EncodedLen,
}
