//! Encodes and decodes affine groups: value = code × scale + bias.
//!
//! All arithmetic is in `f32`, whatever the type of the elements. For a group, with n = 2^bits − 1:
//!
//! ```text
//! scale = max((max − min) / n, 1e-7), negative unless |min| > |max|     step from the edge towards the other end
//! edge  = whichever of min and max has the larger magnitude
//! q0    = round(edge / scale)
//! if q0 ≠ 0 { scale = edge / q0; bias = edge } else { bias = 0 }        so that zero falls on a code
//! code  = clamp(round((w − bias) / scale), 0, n)
//! ```
//!
//! NaN is never a minimum or a maximum. The bias is an element of the group or zero, so storing it rounds nothing.
//! Storing the scale rounds it. MLX chooses codes with the scale before that rounding; [`Plus`] uses the rounded scale,
//! by which a reader multiplies.

use super::{
    MAX_GROUP, Params, bits,
    element::Element,
    group::{Mlx, MlxMetal, Plus, extremes, non_finite},
};
use crate::{EncodeBuffers, EncodeStats, GlobalScale};

/// Smallest step that MLX uses.
pub(crate) const EPSILON: f32 = 1e-7;

/// Arithmetic of one profile.
pub(crate) trait Rule: 'static {
    /// Start value of the search for the maximum.
    const FLOOR: f32;

    /// True where codes are chosen with the scale as stored.
    const STORED_SCALE: bool;

    /// True where ties go away from zero, and not to even.
    #[allow(dead_code, reason = "only the kernels with intrinsics ask")]
    const TIES_AWAY: bool = false;

    /// Rounds a quotient to an integer.
    fn round(value: f32) -> f32 {
        value.round_ties_even()
    }

    /// Rounds `value` and clamps it to `[0, max]`.
    #[inline]
    fn code(value: f32, max: f32) -> u8 {
        nearest_even(value, max)
    }
}

impl Rule for Mlx {
    const FLOOR: f32 = f32::NEG_INFINITY;
    const STORED_SCALE: bool = false;
}

/// A group of negative numbers is treated as reaching up to zero.
impl Rule for MlxMetal {
    const FLOOR: f32 = 0.0;
    const STORED_SCALE: bool = false;
    const TIES_AWAY: bool = true;

    fn round(value: f32) -> f32 {
        value.round()
    }

    #[inline]
    fn code(value: f32, max: f32) -> u8 {
        nearest_away(value, max)
    }
}

impl Rule for Plus {
    const FLOOR: f32 = f32::NEG_INFINITY;
    const STORED_SCALE: bool = true;
}

/// Clamps `value` to `[0, max]` and rounds it, ties to even; NaN gives 0. Clamping first gives the same code, and keeps
/// the number so small that adding 2^23 rounds it into the low bits of the mantissa.
#[inline]
pub(crate) fn nearest_even(value: f32, max: f32) -> u8 {
    let value = if value > 0.0 { value } else { 0.0 };
    let value = if value < max { value } else { max };
    (value + 8_388_608.0).to_bits().to_le_bytes()[0]
}

/// Clamps `value` to `[0, max]` and rounds it, ties upwards; NaN gives `max`, as with Metal's `fmin`.
#[inline]
fn nearest_away(value: f32, max: f32) -> u8 {
    let value = if value < max { value } else { max };
    let value = if value > 0.0 { value } else { 0.0 };
    let even = (value + 8_388_608.0) - 8_388_608.0;
    // The difference is exact. It is one half or more only where a tie was rounded down.
    let code = if value - even < 0.5 { even } else { even + 1.0 };
    (code + 8_388_608.0).to_bits().to_le_bytes()[0]
}

/// Computes the scale and the bias of a group with elements between `min` and `max`. `top` is the largest code.
#[inline]
pub(crate) fn scale_and_bias<R: Rule>(min: f32, max: f32, top: f32) -> (f32, f32) {
    let step = (max - min) / top;
    let step = if step < EPSILON { EPSILON } else { step };
    let (edge, scale) = if min.abs() > max.abs() { (min, step) } else { (max, -step) };
    let codes = R::round(edge / scale);
    if codes == 0.0 {
        return (scale, 0.0);
    }
    let scale = edge / codes;
    // The sign of a NaN that arithmetic produces depends on the machine, so the sign is fixed here.
    (if scale.is_nan() { f32::NAN } else { scale }, edge)
}

pub(crate) fn encode<R: Rule, T: Element, const BITS: usize>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    let EncodeBuffers { weight, scale, bias } = out;
    let group = params.group;
    let top = f32::from(u8::MAX >> (8 - BITS));
    let mut stats = EncodeStats::default();
    let (mut values, mut codes) = ([0.0; MAX_GROUP], [0; MAX_GROUP]);
    let (values, codes) = (&mut values[..group], &mut codes[..group]);
    let parts = scale.chunks_exact_mut(T::SIZE).zip(bias.chunks_exact_mut(T::SIZE));
    let parts = parts.zip(weight.chunks_exact_mut(group * BITS / 8));
    for (src, ((stored_scale, stored_bias), packed)) in src.chunks_exact(group * T::SIZE).zip(parts) {
        T::read(src, values);
        let (min, max) = extremes(values, R::FLOOR);
        let (scale, bias) = scale_and_bias::<R>(min, max, top);
        T::write(&[scale], stored_scale);
        T::write(&[bias], stored_bias);
        let rounded = T::round(scale);
        let divisor = if R::STORED_SCALE { rounded } else { scale };
        for (code, value) in codes.iter_mut().zip(values.iter()) {
            *code = R::code((value - bias) / divisor, top);
        }
        bits::pack::<BITS>(codes, packed);

        let non_finite = non_finite(values);
        stats.non_finite += non_finite;
        if non_finite == 0 {
            // The edge has no code where the whole group is below half of EPSILON.
            stats.zeroed_groups += u64::from(rounded.is_finite() && bias == 0.0 && min.abs().max(max.abs()) > 0.0);
            stats.overflowed_groups += u64::from(!rounded.is_finite());
        }
    }
    stats
}

/// Decodes groups with scales and biases of type `S`, and rounds each step to `A`.
pub(crate) fn decode<S: Element, A: Element, O: Element, const BITS: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    bias: &[u8],
    out: &mut [u8],
) {
    let group = params.group;
    let (mut values, mut codes) = ([0.0; MAX_GROUP], [0; MAX_GROUP]);
    let (values, codes) = (&mut values[..group], &mut codes[..group]);
    let parts = scale.chunks_exact(S::SIZE).zip(bias.chunks_exact(S::SIZE));
    let parts = parts.zip(weight.chunks_exact(group * BITS / 8));
    for (out, ((stored_scale, stored_bias), packed)) in out.chunks_exact_mut(group * O::SIZE).zip(parts) {
        let (scale, bias) = (S::read_one(stored_scale), S::read_one(stored_bias));
        bits::unpack::<BITS>(packed, codes);
        for (value, code) in values.iter_mut().zip(codes.iter()) {
            *value = A::round(A::round(f32::from(*code) * scale) + bias);
        }
        O::write(values, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_rounded_and_clamped() {
        for top in [3u8, 7, 15, 31, 63, 255] {
            let max = f32::from(top);
            for code in 0..top {
                let tie = f32::from(code) + 0.5;
                assert_eq!(nearest_even(tie, max), code + code % 2);
                assert_eq!(nearest_away(tie, max), code + 1);
                for round in [nearest_even, nearest_away] {
                    assert_eq!(round(tie.next_down(), max), code);
                    assert_eq!(round(tie.next_up(), max), code + 1);
                }
            }
            for round in [nearest_even, nearest_away] {
                assert_eq!(round(f32::INFINITY, max), top);
                assert_eq!(round(f32::NEG_INFINITY, max), 0);
                assert_eq!(round(max + 0.5, max), top);
                assert_eq!(round(-0.0, max), 0);
            }
            assert_eq!(nearest_even(f32::NAN, max), 0);
            assert_eq!(nearest_away(f32::NAN, max), top);
        }
    }

    #[test]
    fn zero_falls_on_a_code() {
        let (scale, bias) = scale_and_bias::<Mlx>(-1.0, 0.55, 15.0);
        // 1 / (1.55 / 15) is 9.68, which rounds to ten steps from the edge to zero.
        assert_eq!((scale.to_bits(), bias.to_bits()), (0.1f32.to_bits(), 1f32.to_bits() | 1 << 31));
        let (scale, bias) = scale_and_bias::<Mlx>(-0.55, 1.0, 15.0);
        assert_eq!((scale.to_bits(), bias.to_bits()), (0.1f32.to_bits() | 1 << 31, 1f32.to_bits()));
    }

    #[test]
    fn a_step_is_never_below_epsilon() {
        assert_eq!(scale_and_bias::<Mlx>(0.0, 0.0, 15.0), (-EPSILON, 0.0));
        assert_eq!(scale_and_bias::<Mlx>(4e-8, 4e-8, 15.0), (-EPSILON, 0.0));
        // The only code is the edge itself. The sign is that of a group whose extremes have equal magnitudes.
        assert_eq!(scale_and_bias::<Mlx>(-6e-8, -6e-8, 15.0), (-6e-8, -6e-8));
    }
}
