//! Elements of float types as `f32` numbers, and back.

use half::{bf16, f16};
use longshore_quant::FloatType;

/// Reads little-endian elements of type `float`. Reads as many as both slices have.
pub fn read(float: FloatType, bytes: &[u8], out: &mut [f32]) {
    match float {
        FloatType::F32 => {
            for (bytes, value) in bytes.as_chunks().0.iter().zip(out) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        FloatType::F16 => {
            for (bytes, value) in bytes.as_chunks().0.iter().zip(out) {
                *value = f16::from_le_bytes(*bytes).to_f32();
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
            for (value, bytes) in values.iter().zip(out.as_chunks_mut().0) {
                *bytes = f16::from_f32(*value).to_le_bytes();
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
#[expect(clippy::float_cmp, reason = "rounding is exact")]
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
    fn ties_go_to_even() {
        let ties = [1.0 + f32::EPSILON * 32_768.0, 1.0 + f32::EPSILON * 98_304.0];
        assert_eq!(ties.map(|value| round(FloatType::BF16, value)), [1.0, 1.015_625]);
        assert_eq!(round(FloatType::F16, 1.0 + 2f32.powi(-11)), 1.0);
        assert_eq!(round(FloatType::F32, 0.1), 0.1);
    }
}
