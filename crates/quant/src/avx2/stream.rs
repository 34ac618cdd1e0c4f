//! Writes past the caches, for outputs that are larger than these.
//!
//! A store to memory that is not in a cache first reads the line that it changes. A non-temporal store of a whole line does
//! not, which saves a third of what crosses the memory's bus. The processor puts lines together of vectors that are
//! written in order. Allocators align large memory to 16 bytes and no more, so there are stores of 16 bytes too. Whoever has
//! written so calls `_mm_sfence` before others may read.
#![expect(unsafe_code, reason = "non-temporal stores and prefetches take pointers")]

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _MM_HINT_T0, _mm_prefetch, _mm_stream_si128, _mm256_stream_si256, _mm512_stream_si512,
};

/// Distance in bytes at which codes are prefetched. Shorter ones lose up to a fifth at 8 bits, longer ones gain nothing.
const AHEAD: usize = 16 << 10;

/// Returns the alignment of the vectors with which an output may be written: 64, 32 or 16 bytes, or 0 if it is aligned to none.
#[inline]
pub(crate) fn alignment(out: &[u8]) -> usize {
    [64, 32, 16].into_iter().find(|bytes| out.as_ptr().addr().is_multiple_of(*bytes)).unwrap_or(0)
}

/// Writes to the first 32 bytes, in pieces of `ALIGNMENT` bytes, to which they must be aligned.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn write_256<const ALIGNMENT: usize>(vector: __m256i, out: &mut [u8]) {
    if ALIGNMENT < 32 {
        let pieces: [__m128i; 2] = bytemuck::cast(vector);
        for (piece, out) in pieces.into_iter().zip(out[..32].chunks_exact_mut(16)) {
            // SAFETY: the place may be written, and is aligned as its type asks.
            unsafe { _mm_stream_si128(bytemuck::from_bytes_mut(out), piece) }
        }
    } else {
        // SAFETY: the place may be written, and is aligned as its type asks.
        unsafe { _mm256_stream_si256(bytemuck::from_bytes_mut(&mut out[..32]), vector) }
    }
}

/// Writes to the first 64 bytes, in pieces of `ALIGNMENT` bytes, to which they must be aligned.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn write_512<const ALIGNMENT: usize>(vector: __m512i, out: &mut [u8]) {
    if ALIGNMENT < 64 {
        let halves: [__m256i; 2] = bytemuck::cast(vector);
        for (half, out) in halves.into_iter().zip(out[..64].chunks_exact_mut(32)) {
            write_256::<ALIGNMENT>(half, out);
        }
    } else {
        // SAFETY: the place may be written, and is aligned as its type asks.
        unsafe { _mm512_stream_si512(bytemuck::from_bytes_mut(&mut out[..64]), vector) }
    }
}

/// Asks for what lies some distance behind these bytes. Beside non-temporal stores the processor reads too little ahead by itself.
#[inline]
pub(crate) fn prefetch(bytes: &[u8]) {
    for line in bytes.chunks(64) {
        // SAFETY: a prefetch has no effect that the program can observe, and does not fault on any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(AHEAD).cast()) };
    }
}
