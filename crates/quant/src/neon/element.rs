//! Moves elements between memory and vectors of `f32`, in their natural order.
//!
//! Instructions that convert F16 exist, but the oldest supported compiler has no functions for them. Widening does
//! without them at three instructions per vector; narrowing takes some twelve.

use std::arch::aarch64::{
    float32x4_t, uint8x16_t, uint16x8_t, uint32x4_t, vabsq_f32, vaddq_u32, vandq_u32, vbslq_u16, vdupq_n_f32,
    vdupq_n_u16, vdupq_n_u32, vget_low_s16, vminq_f32, vmulq_f32, vreinterpretq_f32_s32, vreinterpretq_f32_u16,
    vreinterpretq_f32_u32, vreinterpretq_s16_u16, vreinterpretq_u8_u16, vreinterpretq_u16_f32, vreinterpretq_u16_u32,
    vreinterpretq_u32_f32, vshll_high_n_s16, vshll_n_s16, vshrq_n_u32, vuzp1q_u16, vuzp2q_u8, vuzp2q_u16, vzip1q_u16,
    vzip2q_u16,
};

use super::minifloat::nearest_even;
use crate::{FloatType, portable::element::Element};

/// Eight numbers in two vectors.
pub(super) type Eight = [float32x4_t; 2];

/// Sixteen numbers in four vectors.
pub(super) type Sixteen = [float32x4_t; 4];

/// Returns the first `N` bytes as vectors.
#[inline]
pub(super) fn read<const N: usize, V: bytemuck::AnyBitPattern>(src: &[u8]) -> V {
    bytemuck::cast::<[u8; N], V>(*src.first_chunk().expect("callers cut pieces of whole vectors"))
}

/// Writes vectors to the first `N` bytes.
#[inline]
pub(super) fn write<const N: usize, V: bytemuck::NoUninit>(vectors: V, out: &mut [u8]) {
    *out.first_chunk_mut::<N>().expect("callers cut pieces of whole vectors") = bytemuck::cast(vectors);
}

/// Loads sixteen elements. F16 elements must be finite.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load<T: Element>(src: &[u8]) -> Sixteen {
    match T::FLOAT {
        FloatType::F32 => read::<64, Sixteen>(src),
        FloatType::F16 | FloatType::BF16 => {
            let [first, second] = read::<32, [uint16x8_t; 2]>(src);
            let ([a, b], [c, d]) = (widen::<T>(first), widen::<T>(second));
            [a, b, c, d]
        }
    }
}

/// Widens eight elements of 16 bits. F16 elements must be finite.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn widen<T: Element>(halves: uint16x8_t) -> Eight {
    if !matches!(T::FLOAT, FloatType::F16) {
        let zero = vdupq_n_u16(0);
        return [vreinterpretq_f32_u16(vzip1q_u16(zero, halves)), vreinterpretq_f32_u16(vzip2q_u16(zero, halves))];
    }
    // Extending the sign leaves it at the top, and three copies of it to clear. A multiplication then corrects the
    // exponent's bias. It also makes subnormal numbers normal, exactly.
    let kept = vdupq_n_u32(0x8FFF_E000);
    let unit = vdupq_n_f32(f32::from_bits((127 + 112) << 23));
    let halves = vreinterpretq_s16_u16(halves);
    let value = |shifted| {
        let bits = vandq_u32(vreinterpretq_u32_f32(vreinterpretq_f32_s32(shifted)), kept);
        vmulq_f32(vreinterpretq_f32_u32(bits), unit)
    };
    [value(vshll_n_s16::<13>(vget_low_s16(halves))), value(vshll_high_n_s16::<13>(halves))]
}

/// Adds the amount whose carry rounds to BF16, ties to even. The upper halves of the result are the rounded numbers.
#[inline]
#[target_feature(enable = "neon")]
fn carry_to_bf16(values: float32x4_t) -> uint32x4_t {
    let bits = vreinterpretq_u32_f32(values);
    let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
    vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7FFF)), odd)
}

/// Rounds eight numbers to a `T` of 16 bits, ties to even. No number may be NaN.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn narrow<T: Element>(values: Eight) -> uint16x8_t {
    if !matches!(T::FLOAT, FloatType::F16) {
        let carried = values.map(|values| vreinterpretq_u16_u32(carry_to_bf16(values)));
        return vuzp2q_u16(carried[0], carried[1]);
    }
    // The first power of two that no longer fits has the code of infinity.
    let codes = values.map(|values| {
        let magnitude = vminq_f32(vabsq_f32(values), vdupq_n_f32(65_536.0));
        vreinterpretq_u16_u32(nearest_even::<10, -14>(magnitude))
    });
    let signs = vuzp2q_u16(vreinterpretq_u16_f32(values[0]), vreinterpretq_u16_f32(values[1]));
    vbslq_u16(vdupq_n_u16(0x8000), signs, vuzp1q_u16(codes[0], codes[1]))
}

/// Rounds to the nearest values of type `T`, ties to even. No value may be NaN, or too large for F16.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn round<T: Element>(values: float32x4_t) -> float32x4_t {
    match T::FLOAT {
        FloatType::F32 => values,
        FloatType::F16 => widen::<T>(narrow::<T>([values, values]))[0],
        FloatType::BF16 => vreinterpretq_f32_u32(vandq_u32(carry_to_bf16(values), vdupq_n_u32(0xFFFF_0000))),
    }
}

/// Rounds eight numbers to `T` and writes them. No number may be NaN.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store<T: Element>(values: Eight, out: &mut [u8]) {
    match T::FLOAT {
        FloatType::F32 => write::<32, _>(values, out),
        FloatType::F16 | FloatType::BF16 => write::<16, _>(narrow::<T>(values), out),
    }
}

/// Returns the byte of each number that holds its sign.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn top_bytes(values: Sixteen) -> uint8x16_t {
    let halves = values.map(|values| vreinterpretq_u16_f32(values));
    let (first, second) = (vuzp2q_u16(halves[0], halves[1]), vuzp2q_u16(halves[2], halves[3]));
    vuzp2q_u8(vreinterpretq_u8_u16(first), vreinterpretq_u8_u16(second))
}
