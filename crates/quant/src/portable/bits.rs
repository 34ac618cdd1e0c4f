//! Converts codes to and from MLX's packed words: one little-endian bit stream.
//!
//! Code i of a row lies at bits `[i × BITS, (i + 1) × BITS)` of the stream, for every width. Eight codes are therefore
//! always `BITS` whole bytes, and eight codes are the unit here. In a 64-bit word with a code per byte, packing joins
//! neighbours three times, and each time doubles the contents of a lane:
//!
//! ```text
//! 8 lanes of 8 bits, BITS used → 4 lanes of 16, 2 × BITS used → 2 of 32, 4 × BITS used → 1 of 64, 8 × BITS used
//! ```

/// Packs eight codes, each below 2^`BITS`, into the low 8 × `BITS` bits.
fn join<const BITS: usize>(codes: [u8; 8]) -> u64 {
    const BYTES: u64 = 0x00FF_00FF_00FF_00FF;
    const HALVES: u64 = 0x0000_FFFF_0000_FFFF;
    const WORDS: u64 = 0x0000_0000_FFFF_FFFF;
    let x = u64::from_le_bytes(codes);
    let x = (x & BYTES) | (((x >> 8) & BYTES) << BITS);
    let x = (x & HALVES) | (((x >> 16) & HALVES) << (2 * BITS));
    (x & WORDS) | (x >> 32) << (4 * BITS)
}

/// Splits the low 8 × `BITS` bits into eight codes: the inverse of [`join`]. The bits above are ignored.
fn split<const BITS: usize>(packed: u64) -> [u8; 8] {
    let low = |lanes: u64, width: usize| lanes * ((1 << width) - 1);
    let words = low(1, 4 * BITS);
    let halves = low(0x0000_0001_0000_0001, 2 * BITS);
    let bytes = low(0x0001_0001_0001_0001, BITS);
    let x = (packed & words) | ((packed >> (4 * BITS)) & words) << 32;
    let x = (x & halves) | ((x >> (2 * BITS)) & halves) << 16;
    let x = (x & bytes) | ((x >> BITS) & bytes) << 8;
    x.to_le_bytes()
}

/// Packs `codes` into `out`. The number of codes must be a multiple of eight, each below 2^`BITS`, and `out` must have
/// `codes.len()` × `BITS` / 8 bytes.
pub(crate) fn pack<const BITS: usize>(codes: &[u8], out: &mut [u8]) {
    for (codes, out) in codes.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<BITS>().0) {
        out.copy_from_slice(&join::<BITS>(*codes).to_le_bytes()[..BITS]);
    }
}

/// Unpacks `packed` into codes: the inverse of [`pack`].
pub(crate) fn unpack<const BITS: usize>(packed: &[u8], codes: &mut [u8]) {
    for (packed, codes) in packed.as_chunks::<BITS>().0.iter().zip(codes.as_chunks_mut::<8>().0) {
        let mut word = [0; 8];
        word[..BITS].copy_from_slice(packed);
        *codes = split::<BITS>(u64::from_le_bytes(word));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Definition of the layout, bit by bit.
    fn pack_by_bit(bits: usize, codes: &[u8]) -> Vec<u8> {
        let mut out = vec![0; codes.len() * bits / 8];
        for (i, code) in codes.iter().enumerate() {
            for b in 0..bits {
                let at = i * bits + b;
                out[at / 8] |= ((code >> b) & 1) << (at % 8);
            }
        }
        out
    }

    fn agrees_with_the_definition<const BITS: usize>() {
        let mask = u8::MAX >> (8 - BITS);
        let codes: Vec<u8> = (0..=255u8).map(|i| i.wrapping_mul(151).rotate_left(3) & mask).collect();
        let mut packed = vec![0; codes.len() * BITS / 8];
        pack::<BITS>(&codes, &mut packed);
        assert_eq!(packed, pack_by_bit(BITS, &codes), "{BITS} bits");
        let mut unpacked = vec![0xAA; codes.len()];
        unpack::<BITS>(&packed, &mut unpacked);
        assert_eq!(unpacked, codes, "{BITS} bits");
    }

    #[test]
    fn every_width_is_one_little_endian_bit_stream() {
        agrees_with_the_definition::<2>();
        agrees_with_the_definition::<3>();
        agrees_with_the_definition::<4>();
        agrees_with_the_definition::<5>();
        agrees_with_the_definition::<6>();
        agrees_with_the_definition::<8>();
    }

    #[test]
    fn the_low_nibble_comes_first() {
        let mut packed = [0; 4];
        pack::<4>(&[0, 1, 2, 3, 4, 5, 6, 7], &mut packed);
        assert_eq!(u32::from_le_bytes(packed), 0x7654_3210);
    }
}
