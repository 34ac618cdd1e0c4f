//! Number formats by their definitions.

/// E4M3: 4 bits of exponent with a bias of 7, and 3 bits of mantissa. There is no infinity.
pub(super) fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let magnitude = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa / 8.0 * 2f32.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

/// E2M1: 2 bits of exponent and 1 bit of mantissa.
pub(super) fn e2m1(code: u8) -> f32 {
    let magnitude = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][usize::from(code & 7)];
    if code & 8 == 0 { magnitude } else { -magnitude }
}

/// E8M0: a power of two whose exponent has a bias of 127.
pub(super) fn e8m0(byte: u8) -> f32 {
    2f32.powi(i32::from(byte) - 127)
}

pub(super) fn bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest BF16 to a finite value, ties to even.
pub(super) fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits + 0x7FFF + (bits >> 16 & 1);
    let [_, _, low, high] = rounded.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// A positive number of at most 5 significant bits, from 1/64 to 1/4, for a byte of noise.
pub(super) fn short(byte: u8) -> f32 {
    (1.0 + f32::from(byte & 15) / 16.0) * 2f32.powi(-3 - i32::from(byte >> 4 & 3))
}

/// The code at `at` of codes without gaps, the first in the lowest bits.
pub(super) fn code(bytes: &[u8], at: usize, bits: usize) -> u8 {
    (0..bits).fold(0, |code, bit| {
        let place = at * bits + bit;
        code | (bytes[place / 8] >> (place % 8) & 1) << bit
    })
}
