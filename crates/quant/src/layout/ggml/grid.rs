//! The codebooks of the i-quants. ggml's author found them by a search, so they are data and follow from nothing.
//!
//! The files hold codes, in order, the low bits of a byte first. Each code stands for a value.

/// A codebook of `ROWS` rows of `LEN` values.
pub(super) type Grid<const ROWS: usize, const LEN: usize> = [[i8; LEN]; ROWS];

/// Unpacks codes of `bits` bits, each of which stands for one of `values`.
const fn unpack<const ROWS: usize, const LEN: usize>(packed: &[u8], bits: usize, values: &[i8]) -> Grid<ROWS, LEN> {
    let per_byte = 8 / bits;
    assert!(packed.len() * per_byte == ROWS * LEN, "the file has another size");
    let mut grid = [[0; LEN]; ROWS];
    let mut at = 0;
    while at < ROWS * LEN {
        let code = packed[at / per_byte] >> (at % per_byte * bits) & ((1 << bits) - 1);
        grid[at / LEN][at % LEN] = values[code as usize];
        at += 1;
    }
    grid
}

pub(super) static IQ2_XXS: Grid<256, 8> = unpack(include_bytes!("grids/iq2xxs.bin"), 2, &[8, 25, 43]);
pub(super) static IQ2_XS: Grid<512, 8> = unpack(include_bytes!("grids/iq2xs.bin"), 2, &[8, 25, 43]);
pub(super) static IQ2_S: Grid<1024, 8> = unpack(include_bytes!("grids/iq2s.bin"), 2, &[8, 25, 43]);
pub(super) static IQ3_XXS: Grid<256, 4> =
    unpack(include_bytes!("grids/iq3xxs.bin"), 4, &[4, 12, 20, 28, 36, 44, 52, 62]);
pub(super) static IQ3_S: Grid<512, 4> = unpack(include_bytes!("grids/iq3s.bin"), 4, &[1, 3, 5, 7, 9, 11, 13, 15]);
/// For `IQ1_S` and `IQ1_M`.
pub(super) static IQ1: Grid<2048, 8> = unpack(include_bytes!("grids/iq1s.bin"), 2, &[-1, 0, 1]);

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn has_sum<const ROWS: usize, const LEN: usize>(grid: &Grid<ROWS, LEN>, expected: &str) {
        let bytes: Vec<u8> = grid.as_flattened().iter().map(|value| value.cast_unsigned()).collect();
        let expected = expected.as_bytes().as_chunks::<2>().0.iter().map(|pair| {
            let text = str::from_utf8(pair).expect("it is ASCII");
            u8::from_str_radix(text, 16).expect("it is hexadecimal")
        });
        assert!(Sha256::digest(bytes).iter().copied().eq(expected));
    }

    #[test]
    fn grids_are_ggmls() {
        has_sum(&IQ2_XXS, "05826b5d3e472a3a78f196be62ac78acf81df0f909626e12ab9fa2a5d490dd54");
        has_sum(&IQ2_XS, "06e47aaca60b4dc1d9b5a3f34540437058a6b142b4d7a59d5ded769b4d1bf1de");
        has_sum(&IQ2_S, "e1aa1473412b0552c2174c30ef22ab4073f6a181b85a17056e8249bd2932fd88");
        has_sum(&IQ3_XXS, "46e35f5a997efdee6c99ce57854c8a0d4f0ff8ca57e5e8a60c0793ea580acf5d");
        has_sum(&IQ3_S, "bd1af4945a1717c65610b0284e4628b9a1ba3b306fae3a06f6e5f597356e349f");
        has_sum(&IQ1, "07540ffc1aeaf6ad4d97e96b0fcc765aae39671d4ae4a27bbd0e796fde167c6a");
    }
}
