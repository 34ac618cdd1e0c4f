//! Blocks of 32 elements with one scale. Their nibbles come in halves: the low ones, then the high ones.

use super::block::{field, half};

/// The uneven steps of `IQ4_NL` and `IQ4_XS`.
pub(crate) const STEPS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Splits bytes into codes: the low nibbles, then the high ones.
#[inline(always)]
pub(crate) fn nibbles(packed: &[u8], out: &mut [f32], value: impl Fn(u8) -> f32) {
    let (low, high) = out.split_at_mut(packed.len());
    for ((byte, low), high) in packed.iter().zip(low).zip(high) {
        *low = value(byte & 15);
        *high = value(byte >> 4);
    }
}

/// As [`nibbles`], with bit j of `fifth` above the code of element j.
#[inline(always)]
fn five_bits(packed: &[u8; 16], fifth: [u8; 4], out: &mut [f32; 32], value: impl Fn(u8) -> f32) {
    let fifth = u32::from_le_bytes(fifth);
    let (low, high) = out.split_at_mut(16);
    for (j, ((byte, low), high)) in packed.iter().zip(low).zip(high).enumerate() {
        let [first, _, second, _] = (fifth >> j).to_le_bytes();
        *low = value(byte & 15 | (first & 1) << 4);
        *high = value(byte >> 4 | (second & 1) << 4);
    }
}

/// Decodes signed bytes.
#[inline(always)]
pub(crate) fn signed(codes: &[u8], scale: f32, out: &mut [f32]) {
    for (code, out) in codes.iter().zip(out) {
        *out = scale * f32::from(code.cast_signed());
    }
}

#[inline(always)]
pub(crate) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half(block, 0);
    nibbles(field::<16>(block, 2), out, |q| d * f32::from(q.cast_signed() - 8));
}

#[inline(always)]
pub(crate) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    nibbles(field::<16>(block, 4), out, |q| d * f32::from(q) + m);
}

#[inline(always)]
pub(crate) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = half(block, 0);
    five_bits(field(block, 6), *field(block, 2), out, |q| d * f32::from(q.cast_signed() - 16));
}

#[inline(always)]
pub(crate) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    five_bits(field(block, 8), *field(block, 4), out, |q| d * f32::from(q) + m);
}

#[inline(always)]
pub(crate) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    signed(field::<32>(block, 2), half(block, 0), out);
}

/// The sum of the elements, at 2, is for products with activations.
#[inline(always)]
pub(crate) fn q8_1(block: &[u8; 36], out: &mut [f32; 32]) {
    signed(field::<32>(block, 4), half(block, 0), out);
}

#[inline(always)]
pub(crate) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half(block, 0);
    nibbles(field::<16>(block, 2), out, |q| d * f32::from(STEPS[usize::from(q)]));
}
