//! Finds the extremes of eight groups at once.
//!
//! Where it is cheaper, elements are compared as integers. The bits of a float, with all bits below the sign inverted
//! if the sign is set, have the order of the floats, and infinities and NaN lie at both ends. The extremes therefore
//! also show whether any element is special. Each group leaves one vector. Eight of these are joined as in transposing
//! a matrix: each step halves their number and their width. A group costs four or five instructions and no shuffle
//! chain.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_LT_OQ, _CMP_ORD_Q, _mm256_and_ps, _mm256_and_si256, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_cmp_ps, _mm256_cmpgt_epi32, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_max_epi16, _mm256_max_epi32,
    _mm256_max_ps, _mm256_min_epi16, _mm256_min_epi32, _mm256_min_ps, _mm256_movemask_epi8, _mm256_movemask_ps,
    _mm256_or_si256, _mm256_permute2x128_si256, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_shuffle_ps, _mm256_slli_epi32, _mm256_srai_epi16,
    _mm256_srai_epi32, _mm256_srli_epi16, _mm256_srli_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64,
    _mm256_xor_si256,
};

/// Groups per batch, one for each lane of 32 bits.
pub(super) use super::batch::GROUPS;
use super::element::{load_bytes, low_halves};
use crate::{FloatType, portable::element::Element};

/// Below this magnitude, the kernels' arithmetic neither overflows nor has a subnormal reciprocal.
const LIMIT: f32 = f32::from_bits((127 + 100) << 23);

/// Upper half of [`LIMIT`], or infinity where elements are F16.
const fn limit_of_halves(float: FloatType) -> i16 {
    match float {
        FloatType::F16 => 0x7C00,
        FloatType::BF16 | FloatType::F32 => 0x7180,
    }
}

/// Returns the least and the greatest element of each of eight groups. Returns `None` unless all elements are finite
/// and below 2^100. The sign of a zero is arbitrary.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn extremes<T: Element>(src: &[u8], group: usize) -> Option<(__m256, __m256)> {
    match T::FLOAT {
        FloatType::F32 => extremes_of_words(src, group),
        FloatType::F16 | FloatType::BF16 => extremes_of_halves::<T>(src, group),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn extremes_of_halves<T: Element>(src: &[u8], group: usize) -> Option<(__m256, __m256)> {
    let limit = limit_of_halves(T::FLOAT);
    let (mut least, mut greatest) = ([_mm256_setzero_si256(); GROUPS], [_mm256_setzero_si256(); GROUPS]);
    for ((src, least), greatest) in src.chunks_exact(group * T::SIZE).zip(&mut least).zip(&mut greatest) {
        *least = _mm256_set1_epi16(i16::MAX);
        *greatest = _mm256_set1_epi16(i16::MIN);
        for src in src.chunks_exact(32) {
            let halves = load_bytes(src);
            let below_sign = _mm256_srli_epi16::<1>(_mm256_srai_epi16::<15>(halves));
            let key = _mm256_xor_si256(halves, below_sign);
            *least = _mm256_min_epi16(*least, key);
            *greatest = _mm256_max_epi16(*greatest, key);
        }
    }
    let least = join(least, |a, b| _mm256_min_epi16(a, b));
    let greatest = join(greatest, |a, b| _mm256_max_epi16(a, b));
    // Each lane of 32 bits still holds two keys.
    let (upper, lower) = halves_of(least);
    let least = _mm256_min_epi32(upper, lower);
    let (upper, lower) = halves_of(greatest);
    let greatest = _mm256_max_epi32(upper, lower);
    let too_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(-i32::from(limit)), least);
    let too_large = _mm256_cmpgt_epi32(greatest, _mm256_set1_epi32(i32::from(limit) - 1));
    if _mm256_movemask_epi8(_mm256_or_si256(too_small, too_large)) != 0 {
        return None;
    }
    Some((widen::<T>(least), widen::<T>(greatest)))
}

/// Sign-extends both halves of each lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves_of(lanes: __m256i) -> (__m256i, __m256i) {
    (_mm256_srai_epi32::<16>(lanes), _mm256_srai_epi32::<16>(_mm256_slli_epi32::<16>(lanes)))
}

/// Converts keys in lanes of 32 bits to the numbers that they stand for.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widen<T: Element>(keys: __m256i) -> __m256 {
    let below_sign = _mm256_and_si256(_mm256_srai_epi32::<31>(keys), _mm256_set1_epi32(0x7FFF));
    let halves = _mm256_xor_si256(keys, below_sign);
    match T::FLOAT {
        FloatType::F16 => _mm256_cvtph_ps(low_halves(_mm256_and_si256(halves, _mm256_set1_epi32(0xFFFF)))),
        FloatType::BF16 | FloatType::F32 => _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves)),
    }
}

/// Finds the extremes of 32-bit elements by float comparisons. The sum of each element times zero shows the special
/// ones.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn extremes_of_words(src: &[u8], group: usize) -> Option<(__m256, __m256)> {
    let zero = _mm256_setzero_ps();
    let (mut least, mut greatest) = ([_mm256_setzero_si256(); GROUPS], [_mm256_setzero_si256(); GROUPS]);
    let mut sum = zero;
    for ((src, least), greatest) in src.chunks_exact(group * 4).zip(&mut least).zip(&mut greatest) {
        let mut low = _mm256_set1_ps(f32::INFINITY);
        let mut high = _mm256_set1_ps(f32::NEG_INFINITY);
        for src in src.chunks_exact(32) {
            let values = _mm256_castsi256_ps(load_bytes(src));
            low = _mm256_min_ps(values, low);
            high = _mm256_max_ps(values, high);
            sum = _mm256_fmadd_ps(values, zero, sum);
        }
        (*least, *greatest) = (_mm256_castps_si256(low), _mm256_castps_si256(high));
    }
    let float = |lanes| _mm256_castsi256_ps(lanes);
    let least = float(join(least, |a, b| _mm256_castps_si256(_mm256_min_ps(float(a), float(b)))));
    let greatest = float(join(greatest, |a, b| _mm256_castps_si256(_mm256_max_ps(float(a), float(b)))));
    let ordered = _mm256_cmp_ps::<_CMP_ORD_Q>(sum, sum);
    let above = _mm256_cmp_ps::<_CMP_LT_OQ>(_mm256_set1_ps(-LIMIT), least);
    let below = _mm256_cmp_ps::<_CMP_LT_OQ>(greatest, _mm256_set1_ps(LIMIT));
    let fits = _mm256_and_ps(ordered, _mm256_and_ps(above, below));
    (_mm256_movemask_ps(fits) == 0xFF).then_some((least, greatest))
}

/// Returns the largest magnitude of each of eight groups. Returns `None` unless all elements are finite and below
/// 2^100.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn magnitudes<T: Element>(src: &[u8], group: usize) -> Option<__m256> {
    let mut largest = [_mm256_setzero_si256(); GROUPS];
    let wide = matches!(T::FLOAT, FloatType::F32);
    let below_sign = if wide { _mm256_set1_epi32(i32::MAX) } else { _mm256_set1_epi16(i16::MAX) };
    for (src, largest) in src.chunks_exact(group * T::SIZE).zip(&mut largest) {
        for src in src.chunks_exact(32) {
            let magnitude = _mm256_and_si256(load_bytes(src), below_sign);
            *largest = if wide { _mm256_max_epi32(*largest, magnitude) } else { _mm256_max_epi16(*largest, magnitude) };
        }
    }
    if wide {
        let largest = join(largest, |a, b| _mm256_max_epi32(a, b));
        let too_large = _mm256_cmpgt_epi32(largest, _mm256_set1_epi32(LIMIT.to_bits().cast_signed() - 1));
        return (_mm256_movemask_epi8(too_large) == 0).then_some(_mm256_castsi256_ps(largest));
    }
    // Each lane of 32 bits still holds two magnitudes. The larger goes to the upper half, above zeros.
    let pairs = join(largest, |a, b| _mm256_max_epi16(a, b));
    let upper = _mm256_and_si256(pairs, _mm256_set1_epi32(0x7FFF_0000));
    let largest = _mm256_max_epi32(upper, _mm256_slli_epi32::<16>(pairs));
    let limit = i32::from(limit_of_halves(T::FLOAT)) << 16;
    let too_large = _mm256_cmpgt_epi32(largest, _mm256_set1_epi32(limit - 1));
    let values = match T::FLOAT {
        FloatType::F16 => _mm256_cvtph_ps(low_halves(_mm256_srli_epi32::<16>(largest))),
        FloatType::BF16 | FloatType::F32 => _mm256_castsi256_ps(largest),
    };
    (_mm256_movemask_epi8(too_large) == 0).then_some(values)
}

/// Combines the lanes of each of eight vectors until one lane of 32 bits is left, and puts these lanes side by side, in
/// order.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn join(vectors: [__m256i; GROUPS], combine: impl Fn(__m256i, __m256i) -> __m256i) -> __m256i {
    let halves = |x, y| combine(_mm256_permute2x128_si256::<0x20>(x, y), _mm256_permute2x128_si256::<0x31>(x, y));
    let quarters = |x, y| combine(_mm256_unpacklo_epi64(x, y), _mm256_unpackhi_epi64(x, y));
    let (first, second) = (halves(vectors[0], vectors[4]), halves(vectors[1], vectors[5]));
    let (third, fourth) = (halves(vectors[2], vectors[6]), halves(vectors[3], vectors[7]));
    let (x, y) = (quarters(first, second), quarters(third, fourth));
    let (x, y) = (_mm256_castsi256_ps(x), _mm256_castsi256_ps(y));
    combine(
        _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(x, y)),
        _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(x, y)),
    )
}
