//! Conversion of elements between float types.

use half::{bf16, f16, slice::HalfFloatSliceExt as _};
use longshore_st_format::Dtype;

use super::Cast;

/// Elements that are converted by way of a buffer at a time.
const BATCH: usize = 512;

impl Cast {
    /// Converts the little-endian elements of `from` and writes them to `to`, rounded once to nearest, ties to even.
    ///
    /// # Panics
    ///
    /// Panics if the lengths do not match, or if no plan has this pair of types.
    pub fn convert(self, from: &[u8], to: &mut [u8]) {
        let (before, after) = self.widths();
        assert_eq!(from.len() as u64 / before, to.len() as u64 / after, "BUG: a cast of unequal lengths");
        match (self.from, self.to) {
            (Dtype::F64, Dtype::F32) => each::<8, 4>(from, to, |value| narrow(f64::from_le_bytes(value)).to_le_bytes()),
            (Dtype::F64, Dtype::F16) => {
                each::<8, 2>(from, to, |value| f16::from_f32(narrow_to_odd(f64::from_le_bytes(value))).to_le_bytes());
            }
            (Dtype::F64, Dtype::BF16) => {
                each::<8, 2>(from, to, |value| bf16::from_f32(narrow_to_odd(f64::from_le_bytes(value))).to_le_bytes());
            }
            (Dtype::F32, Dtype::BF16) => {
                each::<4, 2>(from, to, |value| to_bf16(u32::from_le_bytes(value)).to_le_bytes());
            }
            (Dtype::BF16, Dtype::F32) => {
                each::<2, 4>(from, to, |value| (u32::from(u16::from_le_bytes(value)) << 16).to_le_bytes());
            }
            (Dtype::F32, Dtype::F16) => by_f32(from, to, f32::from_le_bytes, from_f32_to_f16),
            (Dtype::BF16, Dtype::F16) => {
                by_f32(from, to, |value| f32::from_bits(u32::from(u16::from_le_bytes(value)) << 16), from_f32_to_f16);
            }
            (Dtype::F16, Dtype::F32) => {
                from_f16(from, to, |value: f32, out: &mut [u8; 4]| *out = value.to_le_bytes());
            }
            (Dtype::F16, Dtype::BF16) => {
                from_f16(from, to, |value: f32, out: &mut [u8; 2]| *out = to_bf16(value.to_bits()).to_le_bytes());
            }
            (from, to) => unreachable!("BUG: no plan casts {from} to {to}"),
        }
    }
}

/// Rounds the bits of an F32 to those of a BF16. A NaN stays one.
fn to_bf16(bits: u32) -> u16 {
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let nan = (bits >> 16) | 0x40;
    let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
    u16::try_from(if is_nan { nan } else { rounded } & 0xffff).expect("it has 16 bits")
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

fn from_f32_to_f16(values: &[f32], out: &mut [[u8; 2]]) {
    let mut halves = [f16::ZERO; BATCH];
    let halves = &mut halves[..values.len()];
    halves.convert_from_f32_slice(values);
    for (out, half) in out.iter_mut().zip(halves) {
        *out = half.to_le_bytes();
    }
}

/// Reads a batch of elements as F32, and writes them together.
fn by_f32<const FROM: usize, const TO: usize>(
    from: &[u8],
    to: &mut [u8],
    read: impl Fn([u8; FROM]) -> f32,
    write: impl Fn(&[f32], &mut [[u8; TO]]),
) {
    let mut values = [0.0; BATCH];
    let (from, to) = (from.as_chunks::<FROM>().0, to.as_chunks_mut::<TO>().0);
    for (from, to) in from.chunks(BATCH).zip(to.chunks_mut(BATCH)) {
        for (value, bytes) in values.iter_mut().zip(from) {
            *value = read(*bytes);
        }
        write(&values[..from.len()], to);
    }
}

/// Reads a batch of F16 together, and writes each value.
fn from_f16<const TO: usize>(from: &[u8], to: &mut [u8], write: impl Fn(f32, &mut [u8; TO])) {
    let (mut halves, mut values) = ([f16::ZERO; BATCH], [0.0; BATCH]);
    let (from, to) = (from.as_chunks::<2>().0, to.as_chunks_mut::<TO>().0);
    for (from, to) in from.chunks(BATCH).zip(to.chunks_mut(BATCH)) {
        for (half, bytes) in halves.iter_mut().zip(from) {
            *half = f16::from_le_bytes(*bytes);
        }
        let values = &mut values[..from.len()];
        halves[..from.len()].convert_to_f32_slice(values);
        for (value, out) in values.iter().zip(to) {
            write(*value, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast<const N: usize>(from: Dtype, to: Dtype, value: [u8; N]) -> Vec<u8> {
        let cast = Cast { from, to };
        let mut out = vec![0; usize::try_from(cast.widths().1).expect("it is small")];
        cast.convert(&value, &mut out);
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
