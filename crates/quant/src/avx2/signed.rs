//! Finds codes that have a sign above a magnitude: E2M1 and E4M3.

use std::arch::x86_64::{
    __m256, _mm256_and_si256, _mm256_andnot_si256, _mm256_castps_si256, _mm256_cmpeq_epi8, _mm256_min_epu8,
    _mm256_or_si256, _mm256_packs_epi16, _mm256_packs_epi32, _mm256_set1_epi8, _mm256_setzero_si256, _mm256_srli_epi16,
};

use super::{
    element::Sixteen,
    minifloat::{nearest_down, nearest_even},
    pack::{bytes, pack},
};

/// Encodes 32 numbers as codes of `BITS` bits, E2M1 in 4 or E4M3 in 8, with the signs of `signs`, and packs them.
/// Magnitudes must be below twice the largest value. With `DOWN`, ties of E2M1 go towards zero, and zero has no sign.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn encode<const BITS: usize, const DOWN: bool>(values: [Sixteen; 2], signs: [Sixteen; 2], out: &mut [u8]) {
    let code = |value: __m256| {
        let magnitude = super::element::magnitude(value);
        match (BITS, DOWN) {
            (4, false) => nearest_even::<1, 0>(magnitude),
            (4, true) => nearest_down::<1, 0>(magnitude),
            _ => nearest_even::<3, -6>(magnitude),
        }
    };
    let first = _mm256_packs_epi32(code(values[0].low), code(values[0].high));
    let second = _mm256_packs_epi32(code(values[1].low), code(values[1].high));
    let largest = if BITS == 4 { 7 } else { 0x7E };
    let codes = _mm256_min_epu8(bytes(first, second), _mm256_set1_epi8(largest));
    // Saturation keeps the sign bit of a word. The bits below it do not matter.
    let sign = |pair: Sixteen| _mm256_packs_epi32(_mm256_castps_si256(pair.low), _mm256_castps_si256(pair.high));
    let signs = _mm256_packs_epi16(sign(signs[0]), sign(signs[1]));
    let signs = if BITS == 4 {
        _mm256_and_si256(_mm256_srli_epi16::<4>(signs), _mm256_set1_epi8(8))
    } else {
        _mm256_and_si256(signs, _mm256_set1_epi8(i8::MIN))
    };
    let signs = if BITS == 4 && DOWN {
        _mm256_andnot_si256(_mm256_cmpeq_epi8(codes, _mm256_setzero_si256()), signs)
    } else {
        signs
    };
    pack::<BITS>(_mm256_or_si256(codes, signs), out);
}
