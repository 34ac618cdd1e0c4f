//! Affine codes as they are stored: one little-endian stream of bits, code after code.

/// Packs codes of `bits` bits. Their number is a multiple of eight, and `out` has `bits` / 8 bytes for each.
pub fn pack(bits: u8, codes: &[u8], out: &mut [u8]) {
    let (bits, bytes) = (u32::from(bits), usize::from(bits));
    for (codes, out) in codes.as_chunks::<8>().0.iter().zip(out.chunks_exact_mut(bytes)) {
        let word = codes.iter().rev().fold(0_u64, |word, code| word << bits | u64::from(*code));
        out.copy_from_slice(&word.to_le_bytes()[..bytes]);
    }
}

/// The code from 0 to `top` that is nearest to `value`, ties to even. NaN gives 0.
#[inline]
pub(crate) fn nearest(value: f32, top: f32) -> u8 {
    let value = if value > 0.0 { value } else { 0.0 };
    let value = if value < top { value } else { top };
    // Adding 2^23 rounds the number into the low bits of the mantissa.
    (value + 8_388_608.0).to_bits().to_le_bytes()[0]
}

/// The largest code of `bits` bits.
pub(crate) fn top(bits: u8) -> f32 {
    f32::from(u8::MAX >> (8 - bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_one_stream_of_bits() {
        for bits in [2_u8, 3, 4, 5, 6, 8] {
            let codes: Vec<u8> =
                (0..64_u8).map(|at| at.wrapping_mul(151).rotate_left(3) & (u8::MAX >> (8 - bits))).collect();
            let mut expected = vec![0; codes.len() * usize::from(bits) / 8];
            for (at, code) in codes.iter().enumerate() {
                for bit in 0..usize::from(bits) {
                    let place = at * usize::from(bits) + bit;
                    expected[place / 8] |= (code >> bit & 1) << (place % 8);
                }
            }
            let mut out = vec![0; expected.len()];
            pack(bits, &codes, &mut out);
            assert_eq!(out, expected, "{bits} bits");
        }
    }

    #[test]
    fn codes_are_clamped_and_rounded() {
        assert_eq!([-3.0, 0.5, 1.5, 14.6, 99.0, f32::NAN].map(|value| nearest(value, top(4))), [0, 0, 2, 15, 15, 0]);
    }
}
