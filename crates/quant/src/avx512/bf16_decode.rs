//! Decodes affine groups of 8 bits whose scales, steps and output are BF16, with the processor's own conversion to that type.
//!
//! ```text
//! for 32 codes    to lanes, and to numbers            two conversions each
//!                 multiply, round, widen, add         no fused operation: the product is rounded
//!                 round both halves to one vector
//! ```
//!
//! The conversion rounds to the nearest value, ties to even, whatever the mode, and takes subnormal numbers for zero. So a group
//! whose numbers may be subnormal is left to the portable kernel, and so is one whose scale or bias is not finite: with both of them
//! 0 or at least [`LEAST`], products are 0 or normal, and so are sums, which are multiples of 2⁻⁷ times that.

use std::arch::x86_64::{
    __m256i, __m512, _mm_sfence, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm512_add_ps, _mm512_cvtepi32_ps,
    _mm512_cvtepu8_epi32, _mm512_cvtne2ps_pbh, _mm512_cvtneps_pbh, _mm512_cvtpbh_ps, _mm512_mul_ps, _mm512_set1_ps,
};

use super::affine_decode::put;
use crate::{
    avx2::{element::load_bytes, stream},
    portable::{
        Params, affine,
        element::{Bf16, Element as _},
    },
};

/// The least scale and bias, 2⁻¹⁰⁰.
const LEAST: f32 = f32::from_bits((127 - 100) << 23);

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma,f16c")]
pub(super) fn decode(params: &Params<f32>, weight: &[u8], scale: &[u8], bias: &[u8], out: &mut [u8]) {
    match if params.streams { stream::alignment(out) } else { 0 } {
        0 => return groups::<0>(params, weight, scale, bias, out),
        64 => groups::<64>(params, weight, scale, bias, out),
        _ => groups::<16>(params, weight, scale, bias, out),
    }
    _mm_sfence();
}

/// Decodes groups, and writes past the caches where it has an `ALIGNMENT`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma,f16c")]
fn groups<const ALIGNMENT: usize>(params: &Params<f32>, weight: &[u8], scale: &[u8], bias: &[u8], out: &mut [u8]) {
    let group = params.group;
    let parts = scale.chunks_exact(2).zip(bias.chunks_exact(2)).zip(weight.chunks_exact(group));
    for (out, ((stored_scale, stored_bias), packed)) in out.chunks_exact_mut(group * 2).zip(parts) {
        let (scale, bias) = (Bf16::read_one(stored_scale), Bf16::read_one(stored_bias));
        if !is_normal(scale) || !is_normal(bias) {
            affine::decode::<Bf16, Bf16, Bf16, 8>(params, packed, stored_scale, stored_bias, out);
            continue;
        }
        stream::prefetch(packed);
        let (scale, bias) = (_mm512_set1_ps(scale), _mm512_set1_ps(bias));
        for (codes, out) in packed.chunks_exact(32).zip(out.chunks_exact_mut(64)) {
            let [first, second] = lanes(load_bytes(codes)).map(|codes| {
                let product = _mm512_cvtpbh_ps(_mm512_cvtneps_pbh(_mm512_mul_ps(codes, scale)));
                _mm512_add_ps(product, bias)
            });
            // The second operand is the lower half.
            put::<ALIGNMENT>(bytemuck::cast(_mm512_cvtne2ps_pbh(second, first)), out);
        }
    }
}

/// Whether a scale or bias is finite, and makes no subnormal number.
fn is_normal(value: f32) -> bool {
    value == 0.0 || value.is_finite() && value.abs() >= LEAST
}

/// Converts 32 codes to numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
fn lanes(codes: __m256i) -> [__m512; 2] {
    let (first, second) = (_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes));
    [_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(first)), _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(second))]
}
