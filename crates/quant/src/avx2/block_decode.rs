//! Decodes the floating-point formats: code × scale, as in [`portable::block_decode`].
//!
//! ```text
//! for 16 codes: to lanes of their own, then to values   E2M1: a table of eight; E4M3: as F16
//!               multiply, round, write
//! ```
//!
//! Bound: rounding to BF16, and the store port. Groups with a scale or a code that is NaN or infinite are left to the
//! portable kernel.

use std::arch::x86_64::{
    _mm256_and_si256, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmpeq_epi8, _mm256_cvtepu8_epi16,
    _mm256_movemask_epi8, _mm256_mul_ps, _mm256_or_si256, _mm256_permutevar8x32_ps, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_ps, _mm256_slli_epi16, _mm256_slli_epi32,
    _mm256_srli_epi16, _mm256_xor_si256,
};

use super::{
    element::{Sixteen, load_bytes, load_half, store, widen},
    pack::unpack,
};
use crate::portable::{
    Params,
    block_decode::{self, Codec},
    element::{Element, F16},
};

/// Returns the values of the sixteen E2M1 codes in the first eight bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn e2m1(packed: &[u8]) -> Sixteen {
    let codes = unpack::<4>(packed);
    let value = |codes| {
        // Only the low three bits of a lane select, so the sign bit is ignored.
        let magnitudes = _mm256_setr_ps(0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0);
        let magnitudes = _mm256_castps_si256(_mm256_permutevar8x32_ps(magnitudes, codes));
        let sign = _mm256_and_si256(_mm256_slli_epi32::<28>(codes), _mm256_set1_epi32(i32::MIN));
        _mm256_castsi256_ps(_mm256_xor_si256(magnitudes, sign))
    };
    Sixteen { low: value(codes.low), high: value(codes.high) }
}

/// Factor that brings the values of [`e4m3`] to scale.
const E4M3_UNIT: f32 = 256.0;

/// Returns the values of the sixteen E4M3 codes in the first sixteen bytes, divided by [`E4M3_UNIT`]. A code shifted by
/// seven bits is an F16 with another exponent bias. Widening an F16 has no penalty for subnormal numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn e4m3(packed: &[u8]) -> Sixteen {
    let upper = _mm256_slli_epi16::<8>(_mm256_cvtepu8_epi16(load_half(packed)));
    let magnitudes = _mm256_and_si256(_mm256_srli_epi16::<1>(upper), _mm256_set1_epi16(0x3F80));
    let signs = _mm256_and_si256(upper, _mm256_set1_epi16(i16::MIN));
    widen::<F16>(_mm256_or_si256(magnitudes, signs))
}

/// Returns true where any of the 32 E4M3 codes of a group is NaN.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn has_nan(codes: &[u8]) -> bool {
    let nan = _mm256_set1_epi8(0x7F);
    _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_and_si256(load_bytes(codes), nan), nan)) != 0
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn decode<C: Codec, O: Element, const BITS: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    _bias: &[u8],
    out: &mut [u8],
) {
    let group = params.group;
    let parts = scale.chunks_exact(1).zip(weight.chunks_exact(group * BITS / 8));
    for (out, (stored, packed)) in out.chunks_exact_mut(group * O::SIZE).zip(parts) {
        let scale = match params.global {
            Some(global) => C::scale(stored[0]) * global,
            None => O::round(C::scale(stored[0])),
        };
        let unit = if BITS == 8 { scale * E4M3_UNIT } else { scale };
        if !unit.is_finite() || BITS == 8 && has_nan(packed) {
            block_decode::decode::<C, O, BITS>(params, packed, stored, &[], out);
            continue;
        }
        let unit = _mm256_set1_ps(unit);
        for (packed, out) in packed.chunks_exact(2 * BITS).zip(out.chunks_exact_mut(16 * O::SIZE)) {
            let values = if BITS == 8 { e4m3(packed) } else { e2m1(packed) };
            let scaled = Sixteen { low: _mm256_mul_ps(values.low, unit), high: _mm256_mul_ps(values.high, unit) };
            store::<O>(scaled, out);
        }
    }
}
