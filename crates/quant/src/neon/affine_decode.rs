//! Decodes affine groups: code × scale, rounded, plus bias, rounded. [`portable::affine`](crate::portable) says to
//! which type each step is rounded.
//!
//! ```text
//! for 16 codes: to bytes of their own              two look-ups and shifts; less for 4 and 8 bits
//!               widen, convert, multiply, add      no fused operation: the product is rounded
//!               round, write
//! ```
//!
//! With codes of up to 4 bits and 16-bit outputs, the sixteen possible values of a group are computed once and looked
//! up.
//!
//! Bound: for these look-ups the memory that is written; otherwise rounding, which takes four instructions per vector
//! for BF16 and a dozen for F16. A group is left to the portable kernel where its scale or bias is not finite, or where
//! its values would leave the range of an F16 that a step is rounded to.

use std::arch::aarch64::{
    float32x4_t, uint8x16_t, uint32x4_t, vaddq_f32, vcvtq_f32_u32, vdupq_n_f32, vdupq_n_u8, vmulq_f32,
    vreinterpretq_u16_u8, vreinterpretq_u32_u16, vzip1q_u8, vzip1q_u16, vzip2q_u8, vzip2q_u16,
};

use super::{
    element::{narrow, read, round, store},
    pack::unpack,
    values::Table,
};
use crate::{
    FloatType,
    portable::{Params, affine, element::Element},
};

/// Widens sixteen bytes to words.
#[inline]
#[target_feature(enable = "neon")]
fn words(bytes: uint8x16_t) -> [uint32x4_t; 4] {
    let zero = vdupq_n_u8(0);
    let halves = [vzip1q_u8(bytes, zero), vzip2q_u8(bytes, zero)].map(|halves| vreinterpretq_u16_u8(halves));
    let zero = vreinterpretq_u16_u8(zero);
    let [a, b] = halves;
    [vzip1q_u16(a, zero), vzip2q_u16(a, zero), vzip1q_u16(b, zero), vzip2q_u16(b, zero)]
        .map(|words| vreinterpretq_u32_u16(words))
}

/// Returns true where all values of a group are finite and can be rounded to `A`.
fn is_ordinary<A: Element, const BITS: usize>(scale: f32, bias: f32) -> bool {
    let limit = if matches!(A::FLOAT, FloatType::F16) { 65_000.0 } else { f32::INFINITY };
    scale.is_finite() && bias.is_finite() && scale.abs() * f32::from(u8::MAX >> (8 - BITS)) + bias.abs() < limit
}

#[target_feature(enable = "neon")]
pub(super) fn decode<S: Element, A: Element, O: Element, const BITS: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    bias: &[u8],
    out: &mut [u8],
) {
    let group = params.group;
    // `store` rounds to the output's type, which is often the type of the last step.
    let rounded_by_store = A::FLOAT == O::FLOAT || A::FLOAT == FloatType::F32;
    let parts = scale.chunks_exact(S::SIZE).zip(bias.chunks_exact(S::SIZE));
    let parts = parts.zip(weight.chunks_exact(group * BITS / 8));
    for (out, ((stored_scale, stored_bias), packed)) in out.chunks_exact_mut(group * O::SIZE).zip(parts) {
        let (scale, bias) = (S::read_one(stored_scale), S::read_one(stored_bias));
        if !is_ordinary::<A, BITS>(scale, bias) {
            affine::decode::<S, A, O, BITS>(params, packed, stored_scale, stored_bias, out);
            continue;
        }
        let (scale, bias) = (vdupq_n_f32(scale), vdupq_n_f32(bias));
        let value = |codes: uint32x4_t| -> float32x4_t {
            let product = round::<A>(vmulq_f32(vcvtq_f32_u32(codes), scale));
            let sum = vaddq_f32(product, bias);
            if rounded_by_store { sum } else { round::<A>(sum) }
        };
        let values = |codes: uint8x16_t| {
            let [a, b, c, d] = words(codes).map(&value);
            [[a, b], [c, d]]
        };
        if BITS <= 4 && O::SIZE == 2 {
            let all = read::<16, uint8x16_t>(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
            let table = Table::new(values(all).map(|values| narrow::<O>(values)));
            for (packed, out) in packed.chunks_exact(2 * BITS).zip(out.chunks_exact_mut(32)) {
                table.write(unpack::<BITS>(packed), out);
            }
            continue;
        }
        for (packed, out) in packed.chunks_exact(2 * BITS).zip(out.chunks_exact_mut(16 * O::SIZE)) {
            let (first, second) = out.split_at_mut(8 * O::SIZE);
            let [low, high] = values(unpack::<BITS>(packed));
            store::<O>(low, first);
            store::<O>(high, second);
        }
    }
}
