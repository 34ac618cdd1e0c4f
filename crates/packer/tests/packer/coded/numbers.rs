//! Number formats, implemented from their definitions.

/// Pseudorandom bytes that are the same for the same seed.
pub(super) fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Pseudorandom E4M3 codes without NaN.
pub(super) fn e4m3_noise(seed: u64, count: usize) -> Vec<u8> {
    noise(seed, count).into_iter().map(|byte| if byte & 0x7F == 0x7F { byte - 1 } else { byte }).collect()
}

/// Pseudorandom E4M3 codes of ordinary positive scales, from 2^-4 to 3.75.
pub(super) fn e4m3_scales(seed: u64, count: usize) -> Vec<u8> {
    noise(seed, count).into_iter().map(|byte| 0x18 + byte % 48).collect()
}

/// Decodes E4M3: 4 bits of exponent with a bias of 7, and 3 bits of mantissa. There is no infinity.
pub(super) fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let magnitude = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa / 8.0 * 2f32.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

/// Decodes E2M1: 2 bits of exponent and 1 bit of mantissa.
pub(super) fn e2m1(code: u8) -> f32 {
    let magnitude = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][usize::from(code & 7)];
    if code & 8 == 0 { magnitude } else { -magnitude }
}

/// Decodes E8M0: a power of two whose exponent has a bias of 127.
pub(super) fn e8m0(byte: u8) -> f32 {
    2f32.powi(i32::from(byte) - 127)
}

/// Rounds a finite value to the nearest BF16, ties to even.
pub(super) fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits + 0x7FFF + (bits >> 16 & 1);
    let [_, _, low, high] = rounded.to_le_bytes();
    u16::from_le_bytes([low, high])
}

pub(super) fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

pub(super) fn round_bf16(value: f32) -> f32 {
    from_bf16(to_bf16(value))
}

pub(super) fn bf16_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| to_bf16(*value).to_le_bytes()).collect()
}

pub(super) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Writes values as F16, which must hold them exactly and as normal numbers.
pub(super) fn f16_bytes(values: &[f32]) -> Vec<u8> {
    let half = |value: f32| {
        let bits = value.to_bits();
        let exponent = (bits >> 23 & 0xFF).wrapping_sub(112);
        assert!((1..=30).contains(&exponent) && bits.trailing_zeros() >= 13, "{value} is no normal F16");
        let half = bits >> 16 & 0x8000 | exponent << 10 | bits >> 13 & 0x3FF;
        u16::try_from(half).expect("it has 16 bits")
    };
    values.iter().flat_map(|value| half(*value).to_le_bytes()).collect()
}

/// Pseudorandom normal F16 numbers of at most 5 significant bits, which BF16 holds exactly, too.
pub(super) fn short_floats(seed: u64, count: usize) -> Vec<f32> {
    noise(seed, count)
        .into_iter()
        .map(|byte| (1.0 + f32::from(byte & 15) / 16.0) * 2f32.powi(-3 - i32::from(byte >> 4 & 3)))
        .collect()
}

/// Packs codes of `bits` bits without gaps, the first in the lowest bits, as little-endian bytes.
pub(super) fn bit_stream(codes: &[u8], bits: usize) -> Vec<u8> {
    let mut bytes = vec![0; codes.len() * bits / 8];
    for (at, code) in codes.iter().enumerate() {
        for bit in 0..bits {
            let place = at * bits + bit;
            bytes[place / 8] |= (code >> bit & 1) << (place % 8);
        }
    }
    bytes
}
