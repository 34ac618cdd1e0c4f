//! Blocks of 32 elements with one scale, which follows from the extremes.

use crate::portable::element::f32_to_f16;

/// The value of largest magnitude, the first of equals.
fn peak(values: &[f32; 32]) -> f32 {
    let mut peak = 0f32;
    for value in values {
        if value.abs() > peak.abs() {
            peak = *value;
        }
    }
    peak
}

/// The least and the largest value.
fn extremes(values: &[f32; 32]) -> [f32; 2] {
    let (mut least, mut most) = (f32::MAX, f32::MIN);
    for value in values {
        if *value < least {
            least = *value;
        }
        if *value > most {
            most = *value;
        }
    }
    [least, most]
}

/// 1 / scale, or zero.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// Returns the low byte of a number without its fraction. What has no 32-bit integer gives zero, as on x86.
fn truncate(value: f32) -> u8 {
    if value.abs() < 2_147_483_648.0 {
        #[expect(clippy::cast_possible_truncation, reason = "the number is in range")]
        let whole = value as i32;
        whole.to_le_bytes()[0]
    } else {
        0
    }
}

fn put_half(value: f32, at: usize, out: &mut [u8]) {
    out[at..at + 2].copy_from_slice(&f32_to_f16(value).to_le_bytes());
}

/// Packs nibbles: the first half of the codes is low, the second high.
fn put_nibbles(codes: &[u8; 32], out: &mut [u8]) {
    let (low, high) = codes.split_at(16);
    for (out, (low, high)) in out.iter_mut().zip(low.iter().zip(high)) {
        *out = low & 15 | high << 4;
    }
}

/// Packs the fifth bits of codes.
fn put_fifth(codes: &[u8; 32], out: &mut [u8]) {
    for (out, codes) in out.iter_mut().zip(codes.as_chunks::<8>().0) {
        *out = codes.iter().rev().fold(0, |bits, code| bits << 1 | code >> 4 & 1);
    }
}

/// Computes the codes of a symmetric type, whose code `middle` is zero, and writes the scale. The value of largest
/// magnitude becomes −`middle`.
fn symmetric(values: &[f32; 32], middle: u8, out: &mut [u8]) -> [u8; 32] {
    let scale = peak(values) / -f32::from(middle);
    let inverse = inverse(scale);
    put_half(scale, 0, out);
    values.map(|value| truncate(value * inverse + (f32::from(middle) + 0.5)).min(2 * middle - 1))
}

/// Computes the codes of a type whose codes from 0 to `top` span the values, and writes the scale and the least value.
fn spanning(values: &[f32; 32], top: u8, out: &mut [u8]) -> [u8; 32] {
    let [least, most] = extremes(values);
    let scale = (most - least) / f32::from(top);
    let inverse = inverse(scale);
    put_half(scale, 0, out);
    put_half(least, 2, out);
    values.map(|value| truncate((value - least) * inverse + 0.5).min(top))
}

pub(super) fn q4_0(values: &[f32; 32], out: &mut [u8; 18]) {
    let codes = symmetric(values, 8, out);
    put_nibbles(&codes, &mut out[2..]);
}

pub(super) fn q4_1(values: &[f32; 32], out: &mut [u8; 20]) {
    let codes = spanning(values, 15, out);
    put_nibbles(&codes, &mut out[4..]);
}

pub(super) fn q5_0(values: &[f32; 32], out: &mut [u8; 22]) {
    let codes = symmetric(values, 16, out);
    put_fifth(&codes, &mut out[2..6]);
    put_nibbles(&codes, &mut out[6..]);
}

pub(super) fn q5_1(values: &[f32; 32], out: &mut [u8; 24]) {
    let codes = spanning(values, 31, out);
    put_fifth(&codes, &mut out[4..8]);
    put_nibbles(&codes, &mut out[8..]);
}

pub(super) fn q8_0(values: &[f32; 32], out: &mut [u8; 34]) {
    let scale = peak(values).abs() / 127.0;
    let inverse = inverse(scale);
    put_half(scale, 0, out);
    for (value, out) in values.iter().zip(&mut out[2..]) {
        // Halves are rounded away from zero.
        *out = truncate((value * inverse).round());
    }
}
