//! Finds E2M1 codes of 16-bit floats, at a third of the cost of [`signed`](super::signed). BF16 has a still shorter
//! way, [`e2m1_keys`](super::e2m1_keys), so this module serves F16.
//!
//! On an axis on which the codes are equally spaced, a value x = |w| / d lies at
//!
//! ```text
//! y = min(2x, x + 2, x/2 + 4)      0 to 2 in halves, to 4 in ones, to 6 in twos
//! ```
//!
//! Rounding y to an integer, ties to even, gives the code: each half-way point between two values becomes a half-way
//! point between the same two codes. A code therefore costs three fused operations on |w| with 2/d, 1/d and 1/2d, two
//! minima and one conversion.
//!
//! The rounding of 1/d moves y by less than 2^-21, and adding 64 first rounds y to multiples of 2^-17. A half-way point
//! h has at most 3 bits and a scale 4, so h × d has 7 bits and lies on the grid of the weights of 8 or 11 bits around
//! it. A weight above h × d is therefore at least one unit of its last bit above it, which is 2^-11 of h or more, and
//! 2^-12 or more of y. A weight is thus either on a half-way point, to which rounding restores it, or more than 2^-13
//! away from it. This holds for F16 and BF16 and for scales of few bits, not for F32 or under a global scale.
//!
//! MLX's CPU backend rounds the quotient to the type of the elements before it looks for the nearest code. That changes
//! no code. The quotient of the next weight above h × d exceeds h by a unit of the weight over d. That is more than
//! half a unit of h, since the mantissa of d is below 2, so the quotient is not rounded to h. A quotient below h is
//! rounded to h at most, and ties that go down treat both alike.

use std::arch::x86_64::{
    __m256, __m256i, _mm256_add_ps, _mm256_and_si256, _mm256_andnot_si256, _mm256_cmpeq_epi8, _mm256_cvtps_epi32,
    _mm256_fmadd_ps, _mm256_min_epu8, _mm256_min_ps, _mm256_mul_ps, _mm256_or_si256, _mm256_packs_epi16,
    _mm256_packs_epi32, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_ps, _mm256_setzero_si256, _mm256_srli_epi16,
};

use super::{
    element::{load_bytes, widen},
    pack::{bytes, pack},
    reduce::GROUPS,
};
use crate::portable::element::Element;

/// The factors 2/d, 1/d and 1/2d for eight groups.
pub(super) struct Reciprocals {
    twice: [f32; GROUPS],
    once: [f32; GROUPS],
    half: [f32; GROUPS],
}

impl Reciprocals {
    /// Computes the factors from 1/d.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn new(once: __m256) -> Self {
        Self {
            twice: bytemuck::cast(_mm256_add_ps(once, once)),
            once: bytemuck::cast(once),
            half: bytemuck::cast(_mm256_mul_ps(once, _mm256_set1_ps(0.5))),
        }
    }
}

/// Returns sixteen codes plus 64, as words, for the magnitudes of elements of group `group`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn words<T: Element, const DOWN: bool>(magnitudes: __m256i, reciprocals: &Reciprocals, group: usize) -> __m256i {
    // With everything a little less, ties go down.
    let less = if DOWN { f32::from_bits((127 - 14) << 23) } else { 0.0 };
    let (twice, once) = (_mm256_set1_ps(reciprocals.twice[group]), _mm256_set1_ps(reciprocals.once[group]));
    let half = _mm256_set1_ps(reciprocals.half[group]);
    let code = |magnitude: __m256| {
        let fine = _mm256_fmadd_ps(magnitude, twice, _mm256_set1_ps(64.0 - less));
        let middle = _mm256_fmadd_ps(magnitude, once, _mm256_set1_ps(66.0 - less));
        let coarse = _mm256_fmadd_ps(magnitude, half, _mm256_set1_ps(68.0 - less));
        _mm256_cvtps_epi32(_mm256_min_ps(_mm256_min_ps(fine, middle), coarse))
    };
    let pair = widen::<T>(magnitudes);
    _mm256_packs_epi32(code(pair.low), code(pair.high))
}

/// Encodes 32 elements of 16 bits. The first sixteen belong to group `groups[0]`, the others to `groups[1]`, which may
/// be the same. Quotients must be below 1000; a quotient above the largest value gets the largest code. With `DOWN`,
/// ties go towards zero, and zero has no sign.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn encode<T: Element, const DOWN: bool>(
    src: &[u8],
    reciprocals: &Reciprocals,
    groups: [usize; 2],
    out: &mut [u8],
) {
    let (first, second) = (load_bytes(src), load_bytes(&src[32..]));
    let below_sign = _mm256_set1_epi16(i16::MAX);
    let codes = bytes(
        words::<T, DOWN>(_mm256_and_si256(first, below_sign), reciprocals, groups[0]),
        words::<T, DOWN>(_mm256_and_si256(second, below_sign), reciprocals, groups[1]),
    );
    let codes = _mm256_and_si256(_mm256_min_epu8(codes, _mm256_set1_epi8(64 + 7)), _mm256_set1_epi8(7));
    // Saturation keeps the sign bit of a word. The bits below it do not matter.
    let signs = _mm256_srli_epi16::<4>(_mm256_packs_epi16(first, second));
    let signs = _mm256_and_si256(signs, _mm256_set1_epi8(8));
    let signs = if DOWN { _mm256_andnot_si256(_mm256_cmpeq_epi8(codes, _mm256_setzero_si256()), signs) } else { signs };
    pack::<4>(_mm256_or_si256(codes, signs), out);
}
