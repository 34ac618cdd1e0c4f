//! Converts elements between float types on the way into the staging buffer.

use half::{bf16, f16};
use longshore_manifest::weights::plan::Cast;
use longshore_st_format::Dtype;

/// Converts the little-endian elements of `from` and writes them to `to`, rounded once to nearest, ties to even.
///
/// # Panics
///
/// Panics if the lengths do not match, or if no plan has this pair of types.
pub(super) fn convert(cast: Cast, from: &[u8], to: &mut [u8]) {
    let (before, after) = cast.widths();
    assert_eq!(from.len() as u64 / before, to.len() as u64 / after, "BUG: a cast of unequal lengths");
    match (cast.from, cast.to) {
        (Dtype::F64, Dtype::F32) => each::<8, 4>(from, to, |value| narrow(f64::from_le_bytes(value)).to_le_bytes()),
        (Dtype::F64, Dtype::F16) => {
            each::<8, 2>(from, to, |value| f16::from_f32(narrow_to_odd(f64::from_le_bytes(value))).to_le_bytes());
        }
        (Dtype::F64, Dtype::BF16) => {
            each::<8, 2>(from, to, |value| bf16::from_f32(narrow_to_odd(f64::from_le_bytes(value))).to_le_bytes());
        }
        (Dtype::F32, Dtype::F16) => {
            each::<4, 2>(from, to, |value| f16::from_f32(f32::from_le_bytes(value)).to_le_bytes());
        }
        (Dtype::F32, Dtype::BF16) => {
            each::<4, 2>(from, to, |value| bf16::from_f32(f32::from_le_bytes(value)).to_le_bytes());
        }
        (Dtype::F16, Dtype::F32) => each::<2, 4>(from, to, |value| f16::from_le_bytes(value).to_f32().to_le_bytes()),
        (Dtype::F16, Dtype::BF16) => {
            each::<2, 2>(from, to, |value| bf16::from_f32(f16::from_le_bytes(value).to_f32()).to_le_bytes());
        }
        (Dtype::BF16, Dtype::F32) => each::<2, 4>(from, to, |value| bf16::from_le_bytes(value).to_f32().to_le_bytes()),
        (Dtype::BF16, Dtype::F16) => {
            each::<2, 2>(from, to, |value| f16::from_f32(bf16::from_le_bytes(value).to_f32()).to_le_bytes());
        }
        (from, to) => unreachable!("BUG: no plan casts {from} to {to}"),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest is what is asked for")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// Narrows `value` to `f32`. An inexact result is replaced by the neighbouring float with an odd significand, so that
/// rounding it once more, to fewer bits, gives the same as rounding `value` itself. (`half` looks only at the upper
/// half of an `f64`.)
fn narrow_to_odd(value: f64) -> f32 {
    let nearest = narrow(value);
    let back = f64::from(nearest);
    if back.to_bits() == value.to_bits() || !nearest.is_finite() {
        return nearest;
    }
    let towards_zero = nearest.to_bits() - u32::from(back.abs() > value.abs());
    f32::from_bits(towards_zero | 1)
}

fn each<const FROM: usize, const TO: usize>(from: &[u8], to: &mut [u8], convert: impl Fn([u8; FROM]) -> [u8; TO]) {
    for (from, to) in from.as_chunks::<FROM>().0.iter().zip(to.as_chunks_mut::<TO>().0) {
        *to = convert(*from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast<const N: usize>(from: Dtype, to: Dtype, value: [u8; N]) -> Vec<u8> {
        let cast = Cast { from, to };
        let mut out = vec![0; usize::try_from(cast.widths().1).expect("it is small")];
        convert(cast, &value, &mut out);
        out
    }

    #[test]
    fn values_are_rounded_once_to_the_nearest() {
        // A value halfway between two BF16s rounds to the even one, and a little more rounds up. A conversion by way of
        // F32 would lose that little.
        let half = 1.0 + f64::powi(2.0, -8);
        let more = half + f64::powi(2.0, -40);
        assert_eq!(cast(Dtype::F64, Dtype::BF16, half.to_le_bytes()), bf16::ONE.to_le_bytes());
        assert_eq!(cast(Dtype::F64, Dtype::BF16, more.to_le_bytes()), 0x3f81_u16.to_le_bytes());
        assert_eq!(cast(Dtype::F64, Dtype::BF16, (-more).to_le_bytes()), 0xbf81_u16.to_le_bytes());
        let less = half - f64::powi(2.0, -40);
        assert_eq!(cast(Dtype::F64, Dtype::BF16, less.to_le_bytes()), bf16::ONE.to_le_bytes());
        assert_eq!(
            cast(Dtype::F64, Dtype::F16, (1.0 + f64::powi(2.0, -11) + 1e-12).to_le_bytes()),
            0x3c01_u16.to_le_bytes()
        );
        assert_eq!(cast(Dtype::F64, Dtype::F16, 1e-300_f64.to_le_bytes()), f16::ZERO.to_le_bytes());
        assert_eq!(cast(Dtype::F64, Dtype::BF16, f64::MAX.to_le_bytes()), bf16::INFINITY.to_le_bytes());
        let half = narrow(half);
        assert_eq!(cast(Dtype::F32, Dtype::BF16, half.to_le_bytes()), bf16::ONE.to_le_bytes());
        assert_eq!(cast(Dtype::F32, Dtype::F16, 65520_f32.to_le_bytes()), f16::INFINITY.to_le_bytes());
        assert_eq!(cast(Dtype::F16, Dtype::F32, f16::MAX.to_le_bytes()), 65504_f32.to_le_bytes());
        assert_eq!(cast(Dtype::BF16, Dtype::F16, bf16::MAX.to_le_bytes()), f16::INFINITY.to_le_bytes());
        assert_eq!(cast(Dtype::F16, Dtype::BF16, f16::ONE.to_le_bytes()), bf16::ONE.to_le_bytes());
        assert_eq!(cast(Dtype::F64, Dtype::F32, f64::MAX.to_le_bytes()), f32::INFINITY.to_le_bytes());
        let nan = cast(Dtype::F32, Dtype::BF16, f32::NAN.to_le_bytes());
        assert!(bf16::from_le_bytes([nan[0], nan[1]]).is_nan());
    }
}
