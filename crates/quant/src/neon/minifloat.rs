//! Finds the codes of floats with few bits, four at a time.
//!
//! Adding the power of two whose last place is the spacing of the codes around a value rounds the value to that
//! spacing, ties to even. The difference of the bits then counts the spacings.

use std::arch::aarch64::{
    float32x4_t, uint8x16_t, uint32x4_t, vabsq_f32, vaddq_f32, vaddq_u32, vandq_u8, vandq_u32, vbicq_u8, vceqzq_u8,
    vcgeq_f32, vdupq_n_f32, vdupq_n_u8, vdupq_n_u32, vmaxq_f32, vminq_u8, vmulq_f32, vorrq_u8, vreinterpretq_f32_u32,
    vreinterpretq_u32_f32, vshrq_n_u8, vsraq_n_u32, vsubq_f32, vsubq_u32,
};

use super::{
    element::{Sixteen, top_bytes},
    pack::low_bytes,
};

/// Returns the nearest codes without sign of magnitudes below twice the largest value, ties to even. The format has
/// `MANTISSA` bits, and its least exponent is 2^`MIN`. A magnitude beyond the largest value gets a code beyond the
/// largest one.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn nearest_even<const MANTISSA: u32, const MIN: i32>(magnitude: float32x4_t) -> uint32x4_t {
    round::<MANTISSA, MIN>(magnitude).0
}

/// Like [`nearest_even`], but ties go towards zero.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn nearest_down<const MANTISSA: u32, const MIN: i32>(magnitude: float32x4_t) -> uint32x4_t {
    let (codes, power) = round::<MANTISSA, MIN>(magnitude);
    // Both differences are exact. A tie that was rounded up is half a spacing too large.
    let rounded = vsubq_f32(vaddq_f32(magnitude, power), power);
    let half = vmulq_f32(power, vdupq_n_f32(f32::EPSILON / 2.0));
    vaddq_u32(codes, vcgeq_f32(vsubq_f32(rounded, magnitude), half))
}

/// Encodes sixteen numbers as codes of `BITS` bits, E2M1 in 4 or E4M3 in 8, with the signs of `signs`. Magnitudes must
/// be below twice the largest value. With `DOWN`, ties of E2M1 go towards zero, and zero has no sign.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn encode<const BITS: usize, const DOWN: bool>(values: Sixteen, signs: Sixteen) -> uint8x16_t {
    let codes = values.map(|value| {
        let magnitude = vabsq_f32(value);
        match (BITS, DOWN) {
            (4, false) => nearest_even::<1, 0>(magnitude),
            (4, true) => nearest_down::<1, 0>(magnitude),
            _ => nearest_even::<3, -6>(magnitude),
        }
    });
    signed::<BITS, DOWN>(low_bytes(codes), top_bytes(signs))
}

/// Clamps codes without sign to the largest code, and gives them signs. `tops` holds the byte with the sign of each
/// number.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn signed<const BITS: usize, const DOWN: bool>(codes: uint8x16_t, tops: uint8x16_t) -> uint8x16_t {
    let codes = vminq_u8(codes, vdupq_n_u8(if BITS == 4 { 7 } else { 0x7E }));
    let signs =
        if BITS == 4 { vandq_u8(vshrq_n_u8::<4>(tops), vdupq_n_u8(8)) } else { vandq_u8(tops, vdupq_n_u8(0x80)) };
    vorrq_u8(codes, if DOWN { vbicq_u8(signs, vceqzq_u8(codes)) } else { signs })
}

/// Returns the codes, and the powers of two that were added.
#[inline]
#[target_feature(enable = "neon")]
fn round<const MANTISSA: u32, const MIN: i32>(magnitude: float32x4_t) -> (uint32x4_t, float32x4_t) {
    const { assert!(MANTISSA == 1 || MANTISSA == 3 || MANTISSA == 10, "E2M1, E4M3 or F16") };
    let least_exponent = (127 + MIN).cast_unsigned();
    let least = vdupq_n_f32(f32::from_bits(least_exponent << 23));
    let larger = vreinterpretq_u32_f32(vmaxq_f32(magnitude, least));
    let exponent = vandq_u32(larger, vdupq_n_u32(0x7F80_0000));
    let power = vaddq_u32(exponent, vdupq_n_u32((23 - MANTISSA) << 23));
    let sum = vaddq_f32(magnitude, vreinterpretq_f32_u32(power));
    // The bits of the sum count the spacings above the bits of the power, which are those of the exponent plus a
    // constant. For the least exponent, the spacings are the code. Each further exponent adds 2^MANTISSA.
    let above = vsubq_u32(vreinterpretq_u32_f32(sum), exponent);
    let above = match MANTISSA {
        1 => vsraq_n_u32::<22>(above, exponent),
        3 => vsraq_n_u32::<20>(above, exponent),
        _ => vsraq_n_u32::<13>(above, exponent),
    };
    let constant = ((23 - MANTISSA) << 23) + (least_exponent << MANTISSA);
    let codes = vsubq_u32(above, vdupq_n_u32(constant));
    (codes, vreinterpretq_f32_u32(power))
}
