//! The three float types as kernels see them: bytes in memory, `f32` in arithmetic.
//!
//! Conversions are branch-free integer arithmetic, so loops over them vectorise, and results do not depend on the
//! machine. All conversions round to nearest, ties to even. A NaN becomes the quiet NaN of its sign; MLX drops payloads
//! too.

use crate::FloatType;

/// A float type of the input, of the output, or of an affine scheme's scales and biases.
pub(crate) trait Element: Copy + 'static {
    /// The public name of this type.
    #[allow(dead_code, reason = "only the kernels with intrinsics ask")]
    const FLOAT: FloatType;

    /// Bytes of one element in memory.
    const SIZE: usize;

    /// True where MLX's conversion to this type keeps the sign of NaN. The conversions of this crate always keep it.
    const KEEPS_NAN_SIGN: bool;

    /// Low byte of the least 32-bit integer plus 127, computed in this type and converted back as x86 does.
    const LEAST_INTEGER_PLUS_127: u8;

    /// Reads `out.len()` elements from `out.len()` × `SIZE` bytes.
    fn read(src: &[u8], out: &mut [f32]);

    /// Reads one element from `SIZE` bytes.
    #[inline]
    fn read_one(src: &[u8]) -> f32 {
        let mut value = [0.0];
        Self::read(src, &mut value);
        value[0]
    }

    /// Rounds each value to this type and writes it.
    fn write(values: &[f32], out: &mut [u8]);

    /// Rounds to the nearest value of this type.
    fn round(value: f32) -> f32;
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct F32;
#[derive(Clone, Copy, Debug)]
pub(crate) struct F16;
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bf16;

impl Element for F32 {
    const FLOAT: FloatType = FloatType::F32;
    const SIZE: usize = 4;
    const KEEPS_NAN_SIGN: bool = true;
    const LEAST_INTEGER_PLUS_127: u8 = 0x80;

    #[inline]
    fn read(src: &[u8], out: &mut [f32]) {
        for (bytes, value) in src.as_chunks().0.iter().zip(out) {
            *value = f32::from_le_bytes(*bytes);
        }
    }

    #[inline]
    fn write(values: &[f32], out: &mut [u8]) {
        for (value, bytes) in values.iter().zip(out.as_chunks_mut().0) {
            *bytes = value.to_le_bytes();
        }
    }

    #[inline]
    fn round(value: f32) -> f32 {
        value
    }
}

impl Element for F16 {
    const FLOAT: FloatType = FloatType::F16;
    const SIZE: usize = 2;
    const KEEPS_NAN_SIGN: bool = true;
    const LEAST_INTEGER_PLUS_127: u8 = 0;

    #[inline]
    fn read(src: &[u8], out: &mut [f32]) {
        for (bytes, value) in src.as_chunks().0.iter().zip(out) {
            *value = f16_to_f32(u16::from_le_bytes(*bytes));
        }
    }

    #[inline]
    fn write(values: &[f32], out: &mut [u8]) {
        for (value, bytes) in values.iter().zip(out.as_chunks_mut().0) {
            *bytes = f32_to_f16(*value).to_le_bytes();
        }
    }

    #[inline]
    fn round(value: f32) -> f32 {
        f16_to_f32(f32_to_f16(value))
    }
}

impl Element for Bf16 {
    const FLOAT: FloatType = FloatType::BF16;
    const SIZE: usize = 2;
    const KEEPS_NAN_SIGN: bool = false;
    const LEAST_INTEGER_PLUS_127: u8 = 0;

    #[inline]
    fn read(src: &[u8], out: &mut [f32]) {
        for (bytes, value) in src.as_chunks().0.iter().zip(out) {
            *value = bf16_to_f32(u16::from_le_bytes(*bytes));
        }
    }

    #[inline]
    fn write(values: &[f32], out: &mut [u8]) {
        for (value, bytes) in values.iter().zip(out.as_chunks_mut().0) {
            *bytes = f32_to_bf16(*value).to_le_bytes();
        }
    }

    #[inline]
    fn round(value: f32) -> f32 {
        bf16_to_f32(f32_to_bf16(value))
    }
}

const SIGN: u32 = 0x8000_0000;
const INFINITY: u32 = 0x7F80_0000;

/// Returns the low half of a word.
#[inline]
fn low(word: u32) -> u16 {
    let [a, b, ..] = word.to_le_bytes();
    u16::from_le_bytes([a, b])
}

#[inline]
pub(crate) fn bf16_to_f32(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

#[inline]
pub(crate) fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    // Adding just under half a unit, and one more if the kept part is odd, carries exactly where rounding goes up.
    let rounded = (bits.wrapping_add(0x7FFF + ((bits >> 16) & 1))) >> 16;
    let quiet = (bits >> 16) | 0x0040;
    low(if value.is_nan() { quiet } else { rounded })
}

#[inline]
pub(crate) fn f16_to_f32(half: u16) -> f32 {
    let half = u32::from(half);
    let magnitude = half & 0x7FFF;
    // The exponent field moves into place with the smaller bias. Multiplying by 2^112 corrects the bias, and makes
    // subnormal numbers normal, exactly.
    let finite = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    let special = INFINITY | magnitude << 13;
    let bits = if magnitude >= 0x7C00 { special } else { finite.to_bits() };
    f32::from_bits(bits | (half & 0x8000) << 16)
}

#[inline]
pub(crate) fn f32_to_f16(value: f32) -> u16 {
    // Bits of the least normal f16, and of the least value that no longer rounds to a finite f16.
    const NORMAL: u32 = (127 - 14) << 23;
    const OVERFLOW: u32 = 0x477F_F000;
    let bits = value.to_bits();
    let sign = (bits & SIGN) >> 16;
    let magnitude = bits & !SIGN;
    let normal = (magnitude.wrapping_sub(112 << 23).wrapping_add(0x0FFF + ((magnitude >> 13) & 1))) >> 13;
    // In [0.5, 1) one unit in the last place of an f32 is 2^-24, the spacing of subnormal f16 values, so the addition
    // rounds to it.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let finite = if magnitude < NORMAL { subnormal } else { normal };
    let large = if magnitude > INFINITY { 0x7E00 } else { 0x7C00 };
    low(sign | if magnitude >= OVERFLOW { large } else { finite })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_agrees_with_half_on_all_values() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (f16_to_f32(bits), half::f16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "f16 {bits:#06x}");
            let (ours, theirs) = (bf16_to_f32(bits), half::bf16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "bf16 {bits:#06x}");
        }
    }

    fn narrowing_agrees(value: f32) {
        let (ours, theirs) = (f32_to_f16(value), half::f16::from_f32_const(value));
        assert!(
            ours == theirs.to_bits() || value.is_nan() && half::f16::from_bits(ours).is_nan(),
            "f16 of {:#010x}: {ours:#06x}, expected {theirs:?}",
            value.to_bits()
        );
        let (ours, theirs) = (f32_to_bf16(value), half::bf16::from_f32_const(value));
        assert!(
            ours == theirs.to_bits() || value.is_nan() && half::bf16::from_bits(ours).is_nan(),
            "bf16 of {:#010x}: {ours:#06x}, expected {theirs:?}",
            value.to_bits()
        );
    }

    #[test]
    fn narrowing_agrees_with_half() {
        // All exponents and signs, with mantissas around every rounding boundary of both types.
        for high in 0..=0x1FFu32 {
            for low in [0, 1, 0x0FFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x3001, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x1_8000]
            {
                for middle in [0, 0x2_0000, 0x7E_0000] {
                    narrowing_agrees(f32::from_bits(high << 23 | middle | low));
                }
            }
        }
        // All f16 values, and the midpoints between neighbours.
        for bits in 0..=u16::MAX {
            let value = f16_to_f32(bits);
            for delta in [-1i32, 0, 1] {
                let half_way = value.to_bits().wrapping_add(0x1000).wrapping_add_signed(delta);
                narrowing_agrees(f32::from_bits(value.to_bits().wrapping_add_signed(delta)));
                narrowing_agrees(f32::from_bits(half_way));
            }
        }
        let mut state = 0x9E37_79B9u32;
        for _ in 0..1_000_000 {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            narrowing_agrees(f32::from_bits(state));
        }
    }
}
