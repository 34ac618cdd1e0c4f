//! Expands codes to a byte each, and reads scales.

use std::arch::x86_64::{
    __m128i, __m256i, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_cvtepu8_epi16, _mm256_or_si256,
    _mm256_set1_epi8, _mm256_shuffle_epi8, _mm256_slli_epi16,
};

use crate::matmul::fast::{Codes, E2M1_INTEGERS, Scales, portable};

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn scales(scales: Scales<'_>, out: &mut [f32], biases: &mut [f32]) {
    scales.read(out, biases);
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn codes(codes: Codes, stored: &[u8], out: &mut [u8]) {
    match codes {
        Codes::Nibbles => nibbles::<false>(codes, stored, out),
        Codes::E2m1 => nibbles::<true>(codes, stored, out),
        // Compiled for AVX2, the portable loop is vectors of four times eight codes.
        Codes::Packed(_) | Codes::Bytes | Codes::Blocks(_) => portable::expand(codes, stored, out),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles<const E2M1: bool>(codes: Codes, stored: &[u8], out: &mut [u8]) {
    let integers = _mm256_broadcastsi128_si256(bytemuck::cast::<[u8; 16], __m128i>(E2M1_INTEGERS));
    let (stored, stored_rest) = stored.as_chunks::<16>();
    let (out, out_rest) = out.as_chunks_mut::<32>();
    for (stored, out) in stored.iter().zip(out) {
        // Each byte becomes a word, and its upper code moves to the word's upper byte.
        let words = _mm256_cvtepu8_epi16(bytemuck::cast::<_, __m128i>(*stored));
        let codes = _mm256_or_si256(words, _mm256_slli_epi16::<4>(words));
        let codes = _mm256_and_si256(codes, _mm256_set1_epi8(15));
        *out = bytemuck::cast::<__m256i, _>(if E2M1 { _mm256_shuffle_epi8(integers, codes) } else { codes });
    }
    portable::expand(codes, stored_rest, out_rest);
}
