//! E4M3, the 8-bit float of mxfp8's codes and nvfp4's scales: 4 exponent bits, 3 mantissa bits, no infinity, one NaN of
//! each sign.

/// Code of 448, the largest finite value.
pub(crate) const MAX: u8 = 0x7E;

/// Value of each byte, as MLX decodes it since 0.32.3: 0x7F and 0xFF are NaN.
const VALUES: [f32; 256] = {
    let mut values = [0.0; 256];
    let (mut code, mut bits) = (0, 0u32);
    while code < 128 {
        // The bits are in place under another exponent bias. Multiplying by 2^120 corrects it exactly, for subnormal
        // values too.
        let value = f32::from_bits(bits) * f32::from_bits((127 + 120) << 23);
        values[code] = value;
        values[code + 128] = -value;
        code += 1;
        bits += 1 << 20;
    }
    values[0x7F] = f32::NAN;
    values[0xFF] = f32::NAN;
    values
};

#[inline]
pub(crate) fn decode(code: u8) -> f32 {
    VALUES[usize::from(code)]
}

/// Returns the code of the value nearest to a magnitude, ties to even. Magnitudes above 448, infinity and NaN give
/// [`MAX`], as in MLX 0.32.4. The code of NaN is never produced.
#[inline]
pub(crate) fn encode_magnitude(magnitude: f32) -> u8 {
    const MIN_NORMAL: u32 = (127 - 6) << 23;
    let bits = magnitude.to_bits();
    // In [16384, 32768) one unit in the last place is 2^-9, the spacing of subnormal values, so the addition rounds to
    // it.
    let subnormal = (magnitude + 16384.0).to_bits().wrapping_sub(16384f32.to_bits());
    let normal = bits.wrapping_sub(120 << 23).wrapping_add(0x7_FFFF + ((bits >> 20) & 1)) >> 20;
    let code = if bits < MIN_NORMAL { subnormal } else { normal }.to_le_bytes()[0];
    if bits >= 448f32.to_bits() { MAX } else { code }
}

/// Like [`encode_magnitude`], with the sign of `value`. Zero and NaN have a sign too.
#[inline]
pub(crate) fn encode(value: f32) -> u8 {
    let sign = if value.is_sign_negative() { 0x80 } else { 0 };
    encode_magnitude(value.abs()) | sign
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_the_format_says() {
        for code in 0..=255u8 {
            let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
            let magnitude = if exponent == 0 {
                mantissa * 0.125 * 2f32.powi(-6)
            } else {
                (1.0 + mantissa * 0.125) * 2f32.powi(exponent - 7)
            };
            let value = decode(code);
            if code & 0x7F == 0x7F {
                assert!(value.is_nan());
            } else {
                assert_eq!(value.abs().to_bits(), magnitude.to_bits(), "{code:#04x}");
                assert_eq!(value.is_sign_negative(), code & 0x80 != 0, "{code:#04x}");
                assert_eq!(encode(value), code);
            }
        }
    }

    #[test]
    fn rounds_to_nearest_ties_to_even() {
        for code in 0..MAX {
            let (a, b) = (decode(code), decode(code + 1));
            let middle = f32::midpoint(a, b);
            let even = code + code % 2;
            assert_eq!(encode(middle), even, "between {a} and {b}");
            assert_eq!(encode(middle.next_down()), code);
            assert_eq!(encode(middle.next_up()), code + 1);
            assert_eq!(encode(-middle), 0x80 | even);
        }
    }

    #[test]
    fn what_is_too_large() {
        for value in [448.0, 464.0, 464.0f32.next_up(), 480.0, f32::MAX] {
            assert_eq!(encode(value), MAX);
        }
        assert_eq!(encode(f32::NEG_INFINITY), 0xFE);
        assert_eq!(encode_magnitude(f32::NAN), MAX);
    }
}
