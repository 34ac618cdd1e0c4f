//! Converts codes to and from the bit stream of [`portable::bits`](crate::portable), sixteen at a time.
//!
//! Packing joins neighbours as the portable packer does. Each step is one shift that brings the upper neighbour down to
//! the start of the lower one, and one that inserts it above: `sli` leaves the bits below its shift as they are.
//! Unpacking brings the two bytes that hold a code into a lane of its own with one look-up, and shifts each lane by its
//! own count. That serves all widths without a simpler way.

use std::arch::aarch64::{
    int16x8_t, uint8x16_t, uint16x8_t, uint32x4_t, vandq_u8, vdupq_n_u8, vmovn_u16, vqmovn_high_u16, vqmovn_u16,
    vqtbl1q_u8, vreinterpretq_u8_u16, vreinterpretq_u8_u64, vreinterpretq_u16_u8, vreinterpretq_u16_u32,
    vreinterpretq_u32_u16, vreinterpretq_u64_u32, vshlq_u16, vshrq_n_u8, vshrq_n_u16, vshrq_n_u32, vshrq_n_u64,
    vsliq_n_u16, vsliq_n_u32, vsliq_n_u64, vsraq_n_u16, vuzp1q_u8, vuzp1q_u16, vzip1q_u8,
};

use super::element::{read, write};

/// Returns the low bytes of sixteen words.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn low_bytes(words: [uint32x4_t; 4]) -> uint8x16_t {
    let [first, second] = low_halves(words);
    vuzp1q_u8(vreinterpretq_u8_u16(first), vreinterpretq_u8_u16(second))
}

/// Narrows sixteen words below 2^16 to bytes, saturated at 255.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn saturated_bytes(words: [uint32x4_t; 4]) -> uint8x16_t {
    let [first, second] = low_halves(words);
    vqmovn_high_u16(vqmovn_u16(first), second)
}

#[inline]
#[target_feature(enable = "neon")]
fn low_halves(words: [uint32x4_t; 4]) -> [uint16x8_t; 2] {
    let [a, b, c, d] = words.map(|words| vreinterpretq_u16_u32(words));
    [vuzp1q_u16(a, b), vuzp1q_u16(c, d)]
}

/// Packs sixteen codes, each below 2^`BITS`, into the first 2 × `BITS` bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn pack<const BITS: usize>(codes: uint8x16_t, out: &mut [u8]) {
    match BITS {
        2 => write_joined::<BITS>(join::<2, 4, 8>(codes), out),
        3 => write_joined::<BITS>(join::<3, 6, 12>(codes), out),
        4 => {
            // The high code of each pair moves to just above the low one, and the word's upper byte is dropped.
            let pairs = vreinterpretq_u16_u8(codes);
            write::<8, _>(vmovn_u16(vsraq_n_u16::<4>(pairs, pairs)), out);
        }
        5 => write_joined::<BITS>(join::<5, 10, 20>(codes), out),
        6 => write_joined::<BITS>(join::<6, 12, 24>(codes), out),
        _ => write::<16, _>(codes, out),
    }
}

/// Joins eight codes into the low bits of each half.
#[inline]
#[target_feature(enable = "neon")]
fn join<const ONE: i32, const TWO: i32, const FOUR: i32>(codes: uint8x16_t) -> uint8x16_t {
    let x = vreinterpretq_u16_u8(codes);
    let x = vreinterpretq_u32_u16(vsliq_n_u16::<ONE>(x, vshrq_n_u16::<8>(x)));
    let x = vreinterpretq_u64_u32(vsliq_n_u32::<TWO>(x, vshrq_n_u32::<16>(x)));
    vreinterpretq_u8_u64(vsliq_n_u64::<FOUR>(x, vshrq_n_u64::<32>(x)))
}

/// Writes the first `BITS` bytes of each half.
#[inline]
#[target_feature(enable = "neon")]
fn write_joined<const BITS: usize>(joined: uint8x16_t, out: &mut [u8]) {
    let halves = bytemuck::cast::<uint8x16_t, [[u8; 8]; 2]>(joined);
    for (half, out) in halves.iter().zip(out.as_chunks_mut::<BITS>().0) {
        out.copy_from_slice(&half[..BITS]);
    }
}

/// Tables for eight of sixteen codes, from code `from` on: for each lane, the bytes that hold its code, and its shift.
/// A negative shift is to the right.
const fn lanes(bits: usize, from: usize) -> ([u8; 16], [i16; 8]) {
    let (mut bytes, mut shifts) = ([0xFF; 16], [0; 8]);
    let mut lane = 0;
    while lane < 8 {
        let bit = (from + lane) * bits;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "sixteen codes are at most 128 bits"
        )]
        {
            bytes[2 * lane] = (bit / 8) as u8;
            // A look-up beyond the run of codes gives zero.
            bytes[2 * lane + 1] = (bit / 8 + 1) as u8;
            shifts[lane] = -((bit % 8) as i16);
        }
        lane += 1;
    }
    (bytes, shifts)
}

/// Unpacks the sixteen codes in the first 2 × `BITS` bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn unpack<const BITS: usize>(packed: &[u8]) -> uint8x16_t {
    if BITS == 8 {
        return read::<16, uint8x16_t>(packed);
    }
    let mut run = [0; 16];
    run[..2 * BITS].copy_from_slice(&packed[..2 * BITS]);
    let run = bytemuck::cast::<_, uint8x16_t>(run);
    if BITS == 4 {
        return vzip1q_u8(vandq_u8(run, vdupq_n_u8(15)), vshrq_n_u8::<4>(run));
    }
    let take = |(bytes, shifts): ([u8; 16], [i16; 8])| {
        let lanes = vreinterpretq_u16_u8(vqtbl1q_u8(run, bytemuck::cast::<_, uint8x16_t>(bytes)));
        vreinterpretq_u8_u16(vshlq_u16(lanes, bytemuck::cast::<_, int16x8_t>(shifts)))
    };
    let codes = vuzp1q_u8(take(const { lanes(BITS, 0) }), take(const { lanes(BITS, 8) }));
    vandq_u8(codes, vdupq_n_u8(u8::MAX >> (8 - BITS)))
}
