//! Decodes the floating-point formats: code × scale, as in [`portable::block_decode`](crate::portable).
//!
//! ```text
//! E2M1 to 16 bits: sixteen products for each group, which its codes look up
//! otherwise, for 16 codes: to values    E2M1: a look-up; E4M3: its bits in place, scaled by a power of two
//!                          multiply, round, write
//! ```
//!
//! Bound: for E2M1 the sixteen products, which are as many as the elements of a group of nvfp4, and the memory that is
//! written; for E4M3 rounding. Groups with a scale or a code that is NaN or infinite are left to the portable kernel.

use std::arch::aarch64::{
    uint8x16_t, uint32x4_t, vandq_u8, vandq_u32, vdupq_n_f32, vdupq_n_u8, vdupq_n_u32, vmaxq_u8, vmaxvq_u8, vmulq_f32,
    vreinterpretq_f32_u32, vreinterpretq_s32_u32, vreinterpretq_u16_u8, vreinterpretq_u32_s32, vreinterpretq_u32_u16,
    vshrq_n_s32, vzip1q_u8, vzip1q_u16, vzip2q_u8, vzip2q_u16,
};

use super::{
    element::{Sixteen, narrow, read, store, widen},
    pack::unpack,
    values::Table,
};
use crate::portable::{
    Params,
    block_decode::{self, Codec},
    element::{Bf16, Element},
};

/// Values of the E2M1 codes, in order, as BF16.
const E2M1: [u16; 16] = [
    0x0000, 0x3F00, 0x3F80, 0x3FC0, 0x4000, 0x4040, 0x4080, 0x40C0, //
    0x8000, 0xBF00, 0xBF80, 0xBFC0, 0xC000, 0xC040, 0xC080, 0xC0C0,
];

/// Factor that brings the values of [`e4m3`] to scale.
const E4M3_UNIT: f32 = f32::from_bits((127 + 120) << 23);

/// Returns the values of sixteen E4M3 codes, divided by [`E4M3_UNIT`]: their bits in place under another exponent bias.
#[inline]
#[target_feature(enable = "neon")]
fn e4m3(codes: uint8x16_t) -> Sixteen {
    let zero = vdupq_n_u8(0);
    let halves = [vzip1q_u8(zero, codes), vzip2q_u8(zero, codes)].map(|halves| vreinterpretq_u16_u8(halves));
    let zero = vreinterpretq_u16_u8(zero);
    let [a, b] = halves;
    let tops = [vzip1q_u16(zero, a), vzip2q_u16(zero, a), vzip1q_u16(zero, b), vzip2q_u16(zero, b)];
    tops.map(|tops| {
        // The shift leaves the sign at the top, and four copies of it to clear.
        let shifted: uint32x4_t =
            vreinterpretq_u32_s32(vshrq_n_s32::<4>(vreinterpretq_s32_u32(vreinterpretq_u32_u16(tops))));
        vreinterpretq_f32_u32(vandq_u32(shifted, vdupq_n_u32(0x87F0_0000)))
    })
}

/// Returns true where any of the 32 E4M3 codes of a group is NaN.
#[inline]
#[target_feature(enable = "neon")]
fn has_nan(codes: &[u8]) -> bool {
    let [first, second] = read::<32, [uint8x16_t; 2]>(codes);
    let below_sign = vdupq_n_u8(0x7F);
    vmaxvq_u8(vmaxq_u8(vandq_u8(first, below_sign), vandq_u8(second, below_sign))) == 0x7F
}

#[target_feature(enable = "neon")]
pub(super) fn decode<C: Codec, O: Element, const BITS: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    _bias: &[u8],
    out: &mut [u8],
) {
    let group = params.group;
    let known = Table::new(bytemuck::cast(E2M1));
    let e2m1 = |codes: uint8x16_t| {
        let [first, second] = known.look_up(codes).map(|values| widen::<Bf16>(vreinterpretq_u16_u8(values)));
        [first[0], first[1], second[0], second[1]]
    };
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
        let unit = vdupq_n_f32(unit);
        let scaled = |values: Sixteen| {
            let [a, b, c, d] = values.map(|values| vmulq_f32(values, unit));
            [[a, b], [c, d]]
        };
        if BITS == 4 && O::SIZE == 2 {
            let all = read::<16, uint8x16_t>(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
            let table = Table::new(scaled(e2m1(all)).map(|values| narrow::<O>(values)));
            for (packed, out) in packed.chunks_exact(2 * BITS).zip(out.chunks_exact_mut(32)) {
                table.write(unpack::<BITS>(packed), out);
            }
            continue;
        }
        for (packed, out) in packed.chunks_exact(2 * BITS).zip(out.chunks_exact_mut(16 * O::SIZE)) {
            let codes = unpack::<BITS>(packed);
            let [low, high] = scaled(if BITS == 8 { e4m3(codes) } else { e2m1(codes) });
            let (first, second) = out.split_at_mut(8 * O::SIZE);
            store::<O>(low, first);
            store::<O>(high, second);
        }
    }
}
