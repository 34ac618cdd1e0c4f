//! E8M0, the scale of the mx formats: a byte that is the exponent of a power of two, biased by 127.

/// Returns 2^(code − 127). Code 255 is infinity, as in MLX, and not the NaN of the OCP specification.
#[inline]
pub(crate) fn decode(code: u8) -> f32 {
    // 2^-127 is subnormal.
    f32::from_bits(if code == 0 { 1 << 22 } else { u32::from(code) << 23 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_powers_of_two() {
        assert_eq!(decode(127).to_bits(), 1f32.to_bits());
        assert_eq!(decode(120).to_bits(), 0.007_812_5f32.to_bits());
        assert_eq!(f64::from(decode(0)).to_bits(), 2f64.powi(-127).to_bits());
        assert!(decode(255).is_infinite());
    }
}
