//! Affine decoding: code × scale, rounded, + bias, rounded. See [`portable::affine`] for which type rounds.
//!
//! ```text
//! for 16 codes: to lanes of their own    broadcast, two shuffles, two variable shifts
//!               convert, multiply, add   no fused operation: the product is rounded
//!               round, write
//! ```
//!
//! What bounds it: rounding to BF16, five instructions a vector, twice. A group whose scale or bias is not finite is the
//! oracle's, so that no NaN reaches the rounding.

use std::arch::x86_64::{__m256i, _mm256_add_ps, _mm256_cvtepi32_ps, _mm256_mul_ps, _mm256_set1_ps};

use super::{
    element::{Sixteen, round, store},
    pack::unpack,
};
use crate::{
    FloatType,
    portable::{Params, affine, element::Element},
};

/// One stored number.
#[inline]
fn number<S: Element>(bytes: &[u8]) -> f32 {
    let mut value = [0.0];
    S::read(bytes, &mut value);
    value[0]
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn decode<S: Element, A: Element, O: Element, const BITS: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    bias: &[u8],
    out: &mut [u8],
) {
    let group = params.group;
    // Writing rounds to the output's type, which is often the type of the last step.
    let rounded_by_store = A::FLOAT == O::FLOAT || A::FLOAT == FloatType::F32;
    let parts = scale.chunks_exact(S::SIZE).zip(bias.chunks_exact(S::SIZE));
    let parts = parts.zip(weight.chunks_exact(group * BITS / 8));
    for (out, ((stored_scale, stored_bias), packed)) in out.chunks_exact_mut(group * O::SIZE).zip(parts) {
        let (scale, bias) = (number::<S>(stored_scale), number::<S>(stored_bias));
        if !scale.is_finite() || !bias.is_finite() {
            affine::decode::<S, A, O, BITS>(params, packed, stored_scale, stored_bias, out);
            continue;
        }
        let (scale, bias) = (_mm256_set1_ps(scale), _mm256_set1_ps(bias));
        let value = |codes: __m256i| {
            let product = round::<A>(_mm256_mul_ps(_mm256_cvtepi32_ps(codes), scale));
            let sum = _mm256_add_ps(product, bias);
            if rounded_by_store { sum } else { round::<A>(sum) }
        };
        for (packed, out) in packed.chunks_exact(2 * BITS).zip(out.chunks_exact_mut(16 * O::SIZE)) {
            let codes = unpack::<BITS>(packed);
            store::<O>(Sixteen { low: value(codes.low), high: value(codes.high) }, out);
        }
    }
}
