//! Whole tensors as batches of eight groups.

use std::{
    arch::x86_64::{_MM_HINT_T0, _mm_prefetch},
    mem,
};

use super::reduce::GROUPS;
use crate::{
    EncodeBuffers, EncodeStats, EncodedLen, GlobalScale,
    portable::{EncodeKernel, Params},
};

/// How far ahead of the batch in work its successors are fetched, in bytes.
const AHEAD: usize = 4096;

/// Asks for the first `len` bytes, as far as there are so many.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it is two instructions for each line of a cache")]
#[expect(unsafe_code, reason = "the instruction takes a pointer")]
fn prefetch(src: &[u8], len: usize) {
    for line in src[..len.min(src.len())].chunks(64) {
        // SAFETY: a prefetch reads nothing that a program could see, and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// Splits a tensor into batches of eight groups and gives each to `fast`. What `fast` declines, a batch with numbers
/// that its shortcuts do not cover, and what is left at the end, `oracle` encodes.
///
/// `len` is the size of one group's parts, `src_len` that of its source, in bytes. Always inlined, so that it is compiled
/// with the instructions of its caller.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a closure with vectors must not cross into code without them")]
pub(super) fn encode(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
    src_len: usize,
    len: EncodedLen,
    oracle: EncodeKernel,
    mut fast: impl FnMut(&[u8], &mut EncodeBuffers<'_>) -> Option<EncodeStats>,
) -> EncodeStats {
    let EncodeBuffers { mut weight, mut scale, mut bias } = out;
    let mut stats = EncodeStats::default();
    let batch_len = GROUPS * src_len;
    for (i, piece_src) in src.chunks(batch_len).enumerate() {
        prefetch(src.get(i * batch_len + AHEAD..).unwrap_or_default(), batch_len);
        let src = piece_src;
        let groups = src.len() / src_len;
        let mut piece = EncodeBuffers { weight: &mut [], scale: &mut [], bias: &mut [] };
        (piece.weight, weight) = mem::take(&mut weight).split_at_mut(groups * len.weight);
        (piece.scale, scale) = mem::take(&mut scale).split_at_mut(groups * len.scale);
        (piece.bias, bias) = mem::take(&mut bias).split_at_mut(groups * len.bias);
        let done = if groups == GROUPS { fast(src, &mut piece) } else { None };
        stats += done.unwrap_or_else(|| oracle(params, src, piece));
    }
    stats
}
