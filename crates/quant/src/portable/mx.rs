//! Encodes mxfp4 and mxfp8 groups: E2M1 or E4M3 codes under a power of two.
//!
//! ```text
//! scale = the least power of two that is not below max |w| / (6 or 448)
//! code  = nearest(w / scale)
//! ```
//!
//! Since version 0.32.2, MLX rounds the exponent up so that nothing is clipped. This module implements that rule.

use super::{
    MAX_GROUP, Params, bits, e2m1, e4m3, e8m0,
    element::Element,
    group::{Magnitude, Mlx, MlxMetal, Plus, non_finite},
};
use crate::{EncodeBuffers, EncodeStats, GlobalScale};

/// The code type of one format.
pub(crate) trait Code: 'static {
    /// Bits per code.
    const BITS: usize;
    /// Largest value of a code.
    const MAX: f32;
    /// Largest value plus half of the last step. Larger quotients are clipped.
    const LIMIT: f32;
    /// Mask of a code's bits without the sign.
    const MAGNITUDE: u8;

    /// Returns the nearest code, ties to even.
    fn nearest(value: f32) -> u8;
    /// Returns the code that MLX's CPU backend finds nearest.
    fn nearest_on_cpu(value: f32) -> u8;
    /// Returns the code that MLX's CPU backend gives a NaN of this sign.
    fn nan_on_cpu(negative: bool) -> u8;
}

pub(crate) struct E2m1;
pub(crate) struct E4m3;

impl Code for E2m1 {
    const BITS: usize = 4;
    const MAX: f32 = 6.0;
    const LIMIT: f32 = 7.0;
    const MAGNITUDE: u8 = e2m1::MAGNITUDE;

    #[inline]
    fn nearest(value: f32) -> u8 {
        e2m1::nearest_even(value)
    }

    #[inline]
    fn nearest_on_cpu(value: f32) -> u8 {
        e2m1::first_nearest(value)
    }

    fn nan_on_cpu(_negative: bool) -> u8 {
        0
    }
}

impl Code for E4m3 {
    const BITS: usize = 8;
    const MAX: f32 = 448.0;
    const LIMIT: f32 = 464.0;
    const MAGNITUDE: u8 = 0x7F;

    #[inline]
    fn nearest(value: f32) -> u8 {
        e4m3::encode(value)
    }

    #[inline]
    fn nearest_on_cpu(value: f32) -> u8 {
        e4m3::encode(value)
    }

    fn nan_on_cpu(negative: bool) -> u8 {
        e4m3::MAX | if negative { 0x80 } else { 0 }
    }
}

/// A scale: the code that is stored, and the number by which the weights are divided.
pub(crate) struct Scale {
    code: u8,
    divisor: f32,
}

impl Scale {
    /// The code that is stored.
    pub(crate) const fn code(&self) -> u8 {
        self.code
    }
}

/// Arithmetic of one profile.
pub(crate) trait Rule: Magnitude {
    /// Computes the scale from the largest magnitude of a group. `max` is the largest value of a code.
    fn scale<T: Element>(largest: f32, max: f32) -> Scale;

    /// Computes the codes of a group under a scale.
    fn codes<T: Element, C: Code>(values: &[f32], codes: &mut [u8], scale: &Scale);
}

/// Returns the code of the least power of two that is not below `value`. `value` is positive and finite; values below
/// 2^-127 give its code.
#[inline]
fn round_up(value: f32) -> u8 {
    let bits = value.to_bits();
    if bits <= 1 << 22 {
        return 0;
    }
    let exponent = (bits >> 23) + u32::from(bits & 0x7F_FFFF != 0);
    exponent.min(254).to_le_bytes()[0]
}

/// Returns 2^exponent for an exponent in `[-149, 127]`.
fn power_of_two(exponent: i32) -> f32 {
    let bits = if exponent < -126 { 1 << (exponent + 149) } else { (exponent + 127) << 23 };
    f32::from_bits(bits.cast_unsigned())
}

/// Quotients are rounded to the type of the elements, and the exponent is a byte cut out of an integer.
impl Rule for Mlx {
    fn scale<T: Element>(largest: f32, max: f32) -> Scale {
        let step = T::round(largest / max);
        if step == 0.0 {
            return Scale { code: 127, divisor: 1.0 };
        }
        if !step.is_finite() {
            // In this case MLX's exponent is the least integer, its power is zero, and the byte is what x86 makes of
            // the least integer plus 127 in the element type. In f32 the sum is rounded to -2^31 + 128.
            return Scale { code: T::LEAST_INTEGER_PLUS_127, divisor: 0.0 };
        }
        // The least exponent whose power is not below `step`, for subnormal steps too.
        let bits = step.to_bits().cast_signed();
        let exponent = if bits < 1 << 23 {
            let top = 31 - bits.leading_zeros().cast_signed();
            top - 149 + i32::from(bits.count_ones() > 1)
        } else {
            (bits >> 23) - 127 + i32::from(bits & 0x7F_FFFF != 0)
        };
        Scale { code: (exponent + 127).to_le_bytes()[0], divisor: T::round(power_of_two(exponent)) }
    }

    #[inline]
    fn codes<T: Element, C: Code>(values: &[f32], codes: &mut [u8], scale: &Scale) {
        if scale.divisor == 0.0 {
            for (code, value) in codes.iter_mut().zip(values) {
                *code = divided_by_zero::<T, C>(*value);
            }
            return;
        }
        for (code, value) in codes.iter_mut().zip(values) {
            *code = C::nearest_on_cpu(T::round(value / scale.divisor));
        }
    }
}

/// Returns the code that x86 gives `value` / 0: infinity of its sign, NaN of its sign, or for a zero a negative NaN.
/// MLX loses that sign when it rounds to BF16.
fn divided_by_zero<T: Element, C: Code>(value: f32) -> u8 {
    if value.is_nan() || value == 0.0 {
        C::nan_on_cpu(T::KEEPS_NAN_SIGN && (value == 0.0 || value.is_sign_negative()))
    } else {
        C::nearest_on_cpu(f32::INFINITY.copysign(value))
    }
}

/// Everything is computed in `f32`: a multiplication by the reciprocal, ties to even. A step that is not
/// finite gets the scale code 255, which is infinity.
impl Rule for MlxMetal {
    fn scale<T: Element>(largest: f32, max: f32) -> Scale {
        let step = largest / max;
        let code = if step.is_finite() { round_up(step) } else { 255 };
        Scale { code, divisor: e8m0::decode(code) }
    }

    #[inline]
    fn codes<T: Element, C: Code>(values: &[f32], codes: &mut [u8], scale: &Scale) {
        let inverse = 1.0 / scale.divisor;
        for (code, value) in codes.iter_mut().zip(values) {
            // Infinity times a reciprocal of zero would be a NaN whose sign depends on the machine, so the sign is
            // fixed here.
            let nan = inverse == 0.0 && value.is_infinite();
            *code = C::nearest(if nan { -f32::NAN } else { value * inverse });
        }
    }
}

/// The arithmetic of `MlxMetal`, which is exact for finite weights. A step that is not finite gets the largest
/// finite scale.
impl Rule for Plus {
    fn scale<T: Element>(largest: f32, max: f32) -> Scale {
        let code = round_up(largest / max);
        Scale { code, divisor: e8m0::decode(code) }
    }

    #[inline]
    fn codes<T: Element, C: Code>(values: &[f32], codes: &mut [u8], scale: &Scale) {
        <MlxMetal as Rule>::codes::<T, C>(values, codes, scale);
    }
}

pub(crate) fn encode<R: Rule, C: Code, T: Element>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    let EncodeBuffers { weight, scale, bias: _ } = out;
    let group = params.group;
    let mut stats = EncodeStats::default();
    let (mut values, mut codes) = ([0.0; MAX_GROUP], [0; MAX_GROUP]);
    let (values, codes) = (&mut values[..group], &mut codes[..group]);
    let parts = scale.iter_mut().zip(weight.chunks_exact_mut(group * C::BITS / 8));
    for (src, (stored, packed)) in src.chunks_exact(group * T::SIZE).zip(parts) {
        T::read(src, values);
        let non_finite = non_finite(values);
        let largest = R::largest(values, non_finite);
        let scale = R::scale::<T>(largest, C::MAX);
        *stored = scale.code;
        R::codes::<T, C>(values, codes, &scale);
        pack::<C>(codes, packed);

        stats.non_finite += non_finite;
        if non_finite == 0 {
            let zeroed = largest > 0.0 && codes.iter().all(|code| code & C::MAGNITUDE == 0);
            stats.zeroed_groups += u64::from(zeroed);
            stats.clipped_groups += u64::from(largest / scale.divisor > C::LIMIT);
            stats.overflowed_groups += u64::from(e8m0::decode(scale.code).to_bits() != scale.divisor.to_bits());
        }
    }
    stats
}

/// Packs codes in their own width.
#[inline]
fn pack<C: Code>(codes: &[u8], out: &mut [u8]) {
    match C::BITS {
        4 => bits::pack::<4>(codes, out),
        _ => bits::pack::<8>(codes, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portable::element::F32;

    #[test]
    fn exponents_are_rounded_up() {
        for exponent in -126..=126i32 {
            let power = power_of_two(exponent);
            let code = (exponent + 127).to_le_bytes()[0];
            assert_eq!(e8m0::decode(code).to_bits(), power.to_bits());
            assert_eq!(round_up(power), code);
            assert_eq!(round_up(power.next_up()), code + 1);
            assert_eq!(round_up(power.next_down()), code);
        }
        assert_eq!(round_up(power_of_two(-127)), 0);
        assert_eq!(round_up(power_of_two(-127).next_up()), 1);
        assert_eq!(round_up(0.0), 0);
        assert_eq!(round_up(f32::INFINITY), 254);
    }

    /// MLX's CPU backend finds the same exponent. Outside of the range of a byte it keeps the exponent's low bits.
    #[test]
    fn the_cpu_backend_wraps_what_lies_below_the_range() {
        for exponent in -149..=125i32 {
            let scale = <Mlx as Rule>::scale::<F32>(power_of_two(exponent) * 4.0, 4.0);
            assert_eq!(scale.divisor.to_bits(), power_of_two(exponent).to_bits());
            assert_eq!(scale.code, (exponent + 127).to_le_bytes()[0]);
        }
    }
}
