//! Turns sixteen signed bytes into values.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_and_si128, _mm_set1_epi8, _mm_set1_epi16, _mm_srli_epi16, _mm_unpackhi_epi64,
    _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_mul_ps, _mm256_sub_ps,
};

use crate::layout::ggml::block::short;

/// Sixteen numbers, in order.
type Sixteen = [__m256; 2];

/// Loads the bytes of a field.
#[inline]
pub(super) fn load(bytes: [u8; 16]) -> __m128i {
    bytemuck::cast(bytes)
}

/// Loads the bytes of a field.
#[inline]
pub(super) fn load_two(bytes: [u8; 32]) -> __m256i {
    bytemuck::cast(bytes)
}

/// Returns the two halves of a vector.
#[inline]
pub(super) fn halves(bytes: __m256i) -> [__m128i; 2] {
    bytemuck::cast(bytes)
}

/// Fills a vector with the F16 of a block at `at`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn half(block: &[u8], at: usize) -> __m256 {
    _mm256_cvtph_ps(_mm_set1_epi16(short(block, at).cast_signed()))
}

/// Returns the low nibbles, then the high ones.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn nibbles(packed: [u8; 16]) -> [__m128i; 2] {
    let (packed, low) = (load(packed), _mm_set1_epi8(15));
    [_mm_and_si128(packed, low), _mm_and_si128(_mm_srli_epi16::<4>(packed), low)]
}

/// Converts signed bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn numbers(codes: __m128i) -> Sixteen {
    let number = |codes| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
    [number(codes), number(_mm_unpackhi_epi64(codes, codes))]
}

/// Writes scale × code.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn scaled(codes: __m128i, scale: __m256, out: &mut [f32; 16]) {
    *out = bytemuck::cast::<Sixteen, _>(numbers(codes).map(|code| _mm256_mul_ps(scale, code)));
}

/// Writes scale × code − min.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn above(codes: __m128i, scale: __m256, min: __m256, out: &mut [f32; 16]) {
    *out = bytemuck::cast::<Sixteen, _>(numbers(codes).map(|code| _mm256_sub_ps(_mm256_mul_ps(scale, code), min)));
}
