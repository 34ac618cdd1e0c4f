//! Rounding F64 to F32.

/// Replaces F64 elements by the nearest F32 elements. Halves the length.
pub(crate) fn narrow_in_place(bytes: &mut Vec<u8>) {
    let count = bytes.len() / 8;
    for at in 0..count {
        let wide = bytes[8 * at..8 * at + 8].try_into().expect("eight bytes");
        #[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest F32 is what is asked for")]
        let narrow = f64::from_le_bytes(wide) as f32;
        bytes[4 * at..4 * at + 4].copy_from_slice(&narrow.to_le_bytes());
    }
    bytes.truncate(4 * count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rounded_to_the_nearest() {
        let wide = [0.1_f64, -2.5, 1e300, f64::from(f32::MIN_POSITIVE), 1.0 + 2f64.powi(-24)];
        let mut bytes = wide.map(f64::to_le_bytes).concat();
        narrow_in_place(&mut bytes);
        assert_eq!(bytes, [0.1_f32, -2.5, f32::INFINITY, f32::MIN_POSITIVE, 1.0].map(f32::to_le_bytes).concat());
    }
}
