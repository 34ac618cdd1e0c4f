//! Finds the codes of floats with few bits, eight at a time.
//!
//! Adding the power of two whose last place is the spacing of the codes around a value rounds the value to that
//! spacing, ties to even. The difference of the bits then counts the spacings.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_GE_OQ, _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_blendv_ps,
    _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cmpgt_epi32, _mm256_cvtepi32_ps, _mm256_max_ps,
    _mm256_mul_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_sub_epi32,
    _mm256_sub_ps,
};

const EXPONENT: i32 = 0x7F80_0000;

/// Returns the nearest codes without sign of magnitudes below twice the largest value, ties to even. The format has
/// `MANTISSA` bits, and its least exponent is 2^`MIN`. A magnitude beyond the largest value gets a code beyond the
/// largest one.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn nearest_even<const MANTISSA: i32, const MIN: i32>(magnitude: __m256) -> __m256i {
    let (bits, spacings, _) = round::<MANTISSA, MIN>(magnitude);
    _mm256_add_epi32(spacings, bits)
}

/// Like [`nearest_even`], but ties go towards zero.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn nearest_down<const MANTISSA: i32, const MIN: i32>(magnitude: __m256) -> __m256i {
    let (bits, spacings, power) = round::<MANTISSA, MIN>(magnitude);
    // Both differences are exact. A tie that was rounded up is half a spacing too large.
    let power = _mm256_castsi256_ps(power);
    let rounded = _mm256_sub_ps(_mm256_add_ps(magnitude, power), power);
    let half = _mm256_mul_ps(power, _mm256_set1_ps(f32::EPSILON / 2.0));
    let up = _mm256_cmp_ps::<_CMP_GE_OQ>(_mm256_sub_ps(rounded, magnitude), half);
    _mm256_add_epi32(_mm256_add_epi32(spacings, bits), _mm256_castps_si256(up))
}

/// Returns the exponent's contribution to the code, the number of spacings, and the bits of the power of two that was
/// added.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn round<const MANTISSA: i32, const MIN: i32>(magnitude: __m256) -> (__m256i, __m256i, __m256i) {
    let least = _mm256_castsi256_ps(_mm256_set1_epi32((127 + MIN) << 23));
    let exponent = _mm256_and_si256(_mm256_castps_si256(_mm256_max_ps(magnitude, least)), _mm256_set1_epi32(EXPONENT));
    let power = _mm256_add_epi32(exponent, _mm256_set1_epi32((23 - MANTISSA) << 23));
    let sum = _mm256_add_ps(magnitude, _mm256_castsi256_ps(power));
    let spacings = _mm256_sub_epi32(_mm256_castps_si256(sum), power);
    // For the least exponent, the spacings are the code. Each further exponent adds 2^MANTISSA.
    let bits = if MANTISSA == 1 { _mm256_srli_epi32::<22>(exponent) } else { _mm256_srli_epi32::<20>(exponent) };
    (_mm256_sub_epi32(bits, _mm256_set1_epi32((127 + MIN) << MANTISSA)), spacings, power)
}

/// Returns the values of positive E4M3 codes in lanes of 32 bits. The value of NaN is 480.
///
/// Multiplying the bits in place by a power of two would serve all codes alike. But a processor stops for a hundred
/// cycles when it meets a subnormal number, and scales of ordinary weights have the smallest codes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn e4m3_values(codes: __m256i) -> __m256 {
    let normal = _mm256_add_epi32(_mm256_slli_epi32::<20>(codes), _mm256_set1_epi32(120 << 23));
    let subnormal = _mm256_mul_ps(_mm256_cvtepi32_ps(codes), _mm256_set1_ps(f32::from_bits((127 - 9) << 23)));
    let small = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(8), codes));
    _mm256_blendv_ps(_mm256_castsi256_ps(normal), subnormal, small)
}
