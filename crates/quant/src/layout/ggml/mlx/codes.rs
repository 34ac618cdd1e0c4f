//! The codes of a block, in the order of its elements.

use super::super::{GgmlType, block::field};

/// The most elements that a block with codes has.
pub(super) const MAX_BLOCK: usize = 256;

/// Splits bytes into nibbles: the low ones, then the high ones.
fn split(packed: &[u8], out: &mut [u8]) {
    let (low, high) = out.split_at_mut(packed.len());
    for ((byte, low), high) in packed.iter().zip(low).zip(high) {
        (*low, *high) = (byte & 15, byte >> 4);
    }
}

/// The inverse of [`split`]. Only the lowest four bits of a code are taken.
fn join(codes: &[u8], packed: &mut [u8]) {
    let (low, high) = codes.split_at(packed.len());
    for ((byte, low), high) in packed.iter_mut().zip(low).zip(high) {
        *byte = low & 15 | high << 4;
    }
}

/// Adds the fifth bits of 32 codes.
fn add_fifth(bits: [u8; 4], out: &mut [u8]) {
    let bits = u32::from_le_bytes(bits);
    for (j, code) in out.iter_mut().enumerate() {
        *code |= u8::from(bits >> j & 1 == 1) << 4;
    }
}

/// The fifth bits of 32 codes.
fn fifth_of(codes: &[u8]) -> [u8; 4] {
    let bits = codes.iter().enumerate().fold(0_u32, |bits, (j, code)| bits | u32::from(code >> 4 & 1) << j);
    bits.to_le_bytes()
}

/// Reads digit n of each byte, where `power` is 3^n.
fn digits(bytes: &[u8], power: u8, out: &mut [u8]) {
    for (byte, out) in bytes.iter().zip(out) {
        [_, *out] = (u16::from(byte.wrapping_mul(power)) * 3).to_le_bytes();
    }
}

/// Reads the codes of a block. They are not negative: those of `Q8_0` are offset by 128, ternary digits by 1. `out` has
/// the length of the block.
pub(super) fn read(ggml_type: GgmlType, block: &[u8], out: &mut [u8]) {
    match ggml_type {
        GgmlType::Q4_0 => split(field::<16>(block, 2), out),
        GgmlType::Q4_1 => split(field::<16>(block, 4), out),
        GgmlType::Q5_0 => {
            split(field::<16>(block, 6), out);
            add_fifth(*field(block, 2), out);
        }
        GgmlType::Q5_1 => {
            split(field::<16>(block, 8), out);
            add_fifth(*field(block, 4), out);
        }
        GgmlType::Q8_0 => out.iter_mut().zip(field::<32>(block, 2)).for_each(|(code, byte)| *code = byte ^ 0x80),
        GgmlType::Q1_0 => out.iter_mut().enumerate().for_each(|(at, code)| *code = block[2 + at / 8] >> (at % 8) & 1),
        GgmlType::Q2_0 => {
            out.iter_mut().enumerate().for_each(|(at, code)| *code = block[2 + at / 4] >> (2 * (at % 4)) & 3);
        }
        GgmlType::TQ1_0 => {
            const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
            let (first, rest) = out.split_at_mut(160);
            let (second, last) = rest.split_at_mut(80);
            for (bytes, out) in [(&block[..32], first), (&block[32..48], second), (&block[48..52], last)] {
                let len = bytes.len();
                for (out, power) in out.chunks_exact_mut(len).zip(POWERS) {
                    digits(bytes, power, out);
                }
            }
        }
        GgmlType::TQ2_0 => {
            for (at, code) in out.iter_mut().enumerate() {
                *code = block[32 * (at / 128) + at % 32] >> (2 * (at / 32 % 4)) & 3;
            }
        }
        GgmlType::Q4K => {
            for (packed, out) in field::<128>(block, 16).chunks_exact(32).zip(out.chunks_exact_mut(64)) {
                split(packed, out);
            }
        }
        GgmlType::Q5K => {
            for (packed, out) in field::<128>(block, 48).chunks_exact(32).zip(out.chunks_exact_mut(64)) {
                split(packed, out);
            }
            for (at, code) in out.iter_mut().enumerate() {
                *code |= (block[16 + at % 32] >> (at / 32) & 1) << 4;
            }
        }
        GgmlType::MXFP4 => split(field::<16>(block, 1), out),
        GgmlType::NVFP4 => {
            for (packed, out) in field::<32>(block, 4).chunks_exact(8).zip(out.chunks_exact_mut(16)) {
                split(packed, out);
            }
        }
        other => unreachable!("BUG: {other} has no codes of a scheme"),
    }
}

/// Writes the codes of a block, the inverse of [`read`] for the types that [`super::types_of`] lists.
pub(super) fn write(ggml_type: GgmlType, codes: &[u8], block: &mut [u8]) {
    match ggml_type {
        GgmlType::Q4_0 => join(codes, &mut block[2..]),
        GgmlType::Q4_1 => join(codes, &mut block[4..]),
        GgmlType::Q5_0 => {
            block[2..6].copy_from_slice(&fifth_of(codes));
            join(codes, &mut block[6..]);
        }
        GgmlType::Q5_1 => {
            block[4..8].copy_from_slice(&fifth_of(codes));
            join(codes, &mut block[8..]);
        }
        GgmlType::Q8_0 => block[2..].iter_mut().zip(codes).for_each(|(byte, code)| *byte = code ^ 0x80),
        GgmlType::Q2_0 => {
            for (byte, codes) in block[2..].iter_mut().zip(codes.chunks_exact(4)) {
                *byte = codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6;
            }
        }
        GgmlType::MXFP4 => join(codes, &mut block[1..]),
        GgmlType::NVFP4 => {
            for (packed, codes) in block[4..].chunks_exact_mut(8).zip(codes.chunks_exact(16)) {
                join(codes, packed);
            }
        }
        other => unreachable!("BUG: no scheme is written as {other}"),
    }
}
