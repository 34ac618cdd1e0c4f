//! Elements of float types as `f32` numbers, and back.

use half::{bf16, f16, slice::HalfFloatSliceExt as _};
use longshore_quant::FloatType;

/// Elements of F16 that are converted at a time, with the instructions that the machine has for it.
const AT_ONCE: usize = 256;

/// Reads little-endian elements of type `float`. Reads as many as both slices have.
pub fn read(float: FloatType, bytes: &[u8], out: &mut [f32]) {
    match float {
        FloatType::F32 => {
            for (bytes, value) in bytes.as_chunks().0.iter().zip(out) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        FloatType::F16 => {
            let mut halves = [f16::ZERO; AT_ONCE];
            let bytes = bytes.as_chunks().0;
            for (bytes, out) in bytes.chunks(AT_ONCE).zip(out.chunks_mut(AT_ONCE)) {
                let count = bytes.len().min(out.len());
                let halves = &mut halves[..count];
                for (bytes, half) in bytes.iter().zip(&mut *halves) {
                    *half = f16::from_le_bytes(*bytes);
                }
                halves.convert_to_f32_slice(&mut out[..count]);
            }
        }
        FloatType::BF16 => {
            for (bytes, value) in bytes.as_chunks().0.iter().zip(out) {
                *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
            }
        }
    }
}

/// Rounds numbers to the nearest elements of type `float`, ties to even, and writes them little-endian. Writes as many
/// as both slices have.
pub fn write(float: FloatType, values: &[f32], out: &mut [u8]) {
    match float {
        FloatType::F32 => {
            for (value, bytes) in values.iter().zip(out.as_chunks_mut().0) {
                *bytes = value.to_le_bytes();
            }
        }
        FloatType::F16 => {
            let mut halves = [f16::ZERO; AT_ONCE];
            for (values, out) in values.chunks(AT_ONCE).zip(out.as_chunks_mut().0.chunks_mut(AT_ONCE)) {
                let count = values.len().min(out.len());
                let halves = &mut halves[..count];
                halves.convert_from_f32_slice(&values[..count]);
                for (half, bytes) in halves.iter().zip(out) {
                    *bytes = half.to_le_bytes();
                }
            }
        }
        FloatType::BF16 => {
            for (value, bytes) in values.iter().zip(out.as_chunks_mut().0) {
                *bytes = bf16::from_f32(*value).to_le_bytes();
            }
        }
    }
}

/// Rounds a number to the nearest element of type `float`, ties to even.
#[must_use]
pub fn round(float: FloatType, value: f32) -> f32 {
    match float {
        FloatType::F32 => value,
        FloatType::F16 => f16::from_f32(value).to_f32(),
        FloatType::BF16 => bf16::from_f32(value).to_f32(),
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, clippy::cast_precision_loss, reason = "rounding is exact, and numbers are small")]
mod tests {
    use super::*;

    #[test]
    fn elements_make_the_round_trip() {
        for float in FloatType::ALL {
            let mut bytes = [0; 20];
            let bytes = &mut bytes[..5 * float.size()];
            let values = [0.0, -1.5, 0.156_25, 1024.0, f32::INFINITY];
            write(float, &values, bytes);
            let mut back = [9.0; 5];
            read(float, bytes, &mut back);
            assert_eq!(back, values, "{float:?}");
        }
    }

    #[test]
    fn slices_of_any_length_are_converted() {
        for count in [0, 1, AT_ONCE - 1, AT_ONCE, 2 * AT_ONCE + 3] {
            let values: Vec<f32> = (0..count).map(|at| (at as f32 - 100.0) * 0.370_1).collect();
            for float in FloatType::ALL {
                let (mut bytes, mut back) = (vec![0; count * float.size()], vec![9.0; count]);
                write(float, &values, &mut bytes);
                read(float, &bytes, &mut back);
                let expected: Vec<f32> = values.iter().map(|value| round(float, *value)).collect();
                assert_eq!(back, expected, "{float:?} {count}");
                // As many as both slices have.
                let mut more = vec![9.0; count + 2];
                read(float, &bytes, &mut more);
                assert_eq!(more, [&expected[..], &[9.0, 9.0]].concat(), "{float:?} {count}");
                write(float, &values, &mut bytes[..count / 2 * float.size()]);
            }
        }
    }

    #[test]
    fn ties_go_to_even() {
        let ties = [1.0 + f32::EPSILON * 32_768.0, 1.0 + f32::EPSILON * 98_304.0];
        assert_eq!(ties.map(|value| round(FloatType::BF16, value)), [1.0, 1.015_625]);
        assert_eq!(round(FloatType::F16, 1.0 + 2f32.powi(-11)), 1.0);
        assert_eq!(round(FloatType::F32, 0.1), 0.1);
    }
}
