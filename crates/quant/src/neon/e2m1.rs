//! Finds E2M1 codes of 16-bit floats without division.
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
//! The rounding of 1/d moves y by less than 2^-21, and adding 64 first rounds y to multiples of 2^-17. A weight of 11
//! bits over a scale of 4 is either on a half-way point, to which rounding restores it, or more than 2^-16 away from
//! it. This holds for F16 and BF16 and for scales of few bits, not for F32 or under a global scale.

use std::arch::aarch64::{
    float32x4_t, uint8x16_t, vabsq_f32, vaddq_f32, vandq_u8, vcvtnq_u32_f32, vdupq_n_f32, vdupq_n_u8, vfmaq_f32,
    vminq_f32, vminq_u8, vmulq_n_f32,
};

use super::{
    element::{Sixteen, top_bytes},
    minifloat::signed,
    pack::low_bytes,
};

/// Encodes sixteen elements of 16 bits. `once` is 1/d of their group. Quotients must be below 8.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn encode(values: Sixteen, once: float32x4_t) -> uint8x16_t {
    let (twice, half) = (vaddq_f32(once, once), vmulq_n_f32(once, 0.5));
    let codes = values.map(|value| {
        let magnitude = vabsq_f32(value);
        let fine = vfmaq_f32(vdupq_n_f32(64.0), magnitude, twice);
        let middle = vfmaq_f32(vdupq_n_f32(66.0), magnitude, once);
        let coarse = vfmaq_f32(vdupq_n_f32(68.0), magnitude, half);
        vcvtnq_u32_f32(vminq_f32(vminq_f32(fine, middle), coarse))
    });
    let codes = vminq_u8(low_bytes(codes), vdupq_n_u8(64 + 7));
    signed::<4, false>(vandq_u8(codes, vdupq_n_u8(7)), top_bytes(values))
}
