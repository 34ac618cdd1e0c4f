//! Blocks of elements with one scale and at most two bits each.

use super::block::{field, half};

/// Decodes one digit of each byte, the values of which are −1, 0 and 1. A byte is a fraction of 256 with digits to the
/// base of 3; shifting it by `power` = 3^n brings digit n in front.
#[inline(always)]
fn digits(bytes: &[u8], power: u8, d: f32, out: &mut [f32]) {
    for (byte, out) in bytes.iter().zip(out) {
        let [_, digit] = (u16::from(byte.wrapping_mul(power)) * 3).to_le_bytes();
        *out = d * f32::from(digit.cast_signed() - 1);
    }
}

#[inline(always)]
pub(crate) fn tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let d = half(block, 52);
    let (first, rest) = out.split_at_mut(160);
    let (second, last) = rest.split_at_mut(80);
    for (out, power) in first.as_chunks_mut::<32>().0.iter_mut().zip(POWERS) {
        digits(field::<32>(block, 0), power, d, out);
    }
    for (out, power) in second.as_chunks_mut::<16>().0.iter_mut().zip(POWERS) {
        digits(field::<16>(block, 32), power, d, out);
    }
    for (out, power) in last.as_chunks_mut::<4>().0.iter_mut().zip(POWERS) {
        digits(field::<4>(block, 48), power, d, out);
    }
}

/// Code 3 stands for 2. No quantizer writes it.
#[inline(always)]
pub(crate) fn tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half(block, 64);
    let halves = field::<64>(block, 0).as_chunks::<32>().0;
    for (out, codes) in out.as_chunks_mut::<128>().0.iter_mut().zip(halves) {
        for (slot, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (out, byte) in out.iter_mut().zip(codes) {
                *out = d * f32::from((byte >> (2 * slot) & 3).cast_signed() - 1);
            }
        }
    }
}

#[inline(always)]
pub(crate) fn q1_0(block: &[u8; 18], out: &mut [f32; 128]) {
    let d = half(block, 0);
    for (out, byte) in out.as_chunks_mut::<8>().0.iter_mut().zip(field::<16>(block, 2)) {
        for (bit, out) in out.iter_mut().enumerate() {
            *out = if byte >> bit & 1 == 1 { d } else { -d };
        }
    }
}

#[inline(always)]
pub(crate) fn q2_0(block: &[u8; 18], out: &mut [f32; 64]) {
    let d = half(block, 0);
    for (out, byte) in out.as_chunks_mut::<4>().0.iter_mut().zip(field::<16>(block, 2)) {
        for (slot, out) in out.iter_mut().enumerate() {
            *out = d * f32::from((byte >> (2 * slot) & 3).cast_signed() - 1);
        }
    }
}
