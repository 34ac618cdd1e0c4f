//! Whole tensors as batches of eight groups, for the kernels with intrinsics.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::mem;

use crate::{
    EncodeBuffers, EncodeStats, EncodedLen, GlobalScale,
    portable::{EncodeKernel, Params},
};

/// Groups to a batch.
pub(crate) const GROUPS: usize = 8;

/// How far ahead of the batch in work its successors are fetched, in bytes. Without this a core reads from memory at three
/// fifths of the speed; 4 KiB and 12 KiB are a little slower. That is x86-64; nothing is known of others, and they do without.
const AHEAD: usize = 8192;

/// Asks for all of `src`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(clippy::inline_always, reason = "it is two instructions for each line of a cache")]
#[expect(unsafe_code, reason = "the instruction takes a pointer")]
fn prefetch(src: &[u8]) {
    // What is left lies in a line that is asked for with the next bytes.
    for line in src.as_chunks::<64>().0 {
        // SAFETY: a prefetch reads nothing that a program could see, and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch(_src: &[u8]) {}

/// Batches that are prepared together. What a batch's scales take is a chain of divisions, and several chains run side by
/// side where one would leave a core waiting.
const TOGETHER: usize = 4;

/// Splits a tensor into batches of eight groups. Each is prepared, which finds its scales, and finished, which packs its
/// codes. What `prepare` declines, a batch with numbers that its shortcuts do not cover, and what is left at the end,
/// `oracle` encodes.
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
            // Between batches, since a burst of prefetches would wait for each other.
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

/// Groups and the buffers for their parts.
pub(crate) struct Tensor<'a> {
    pub(crate) params: &'a Params<GlobalScale>,
    pub(crate) src: &'a [u8],
    pub(crate) out: EncodeBuffers<'a>,
    /// Bytes of one group's source.
    pub(crate) src_len: usize,
    /// Bytes of one group's parts.
    pub(crate) len: EncodedLen,
}
