//! Blocks of 256 elements that are rows of a codebook, with signs or offsets.

use super::{
    block::{field, half, short},
    grid,
};

/// The sign byte of an index of 7 bits. The number of its bits is even, which determines the eighth.
#[inline(always)]
fn signs_of(index: u32) -> u8 {
    let [index, ..] = (index & 127).to_le_bytes();
    if index.count_ones().is_multiple_of(2) { index } else { index | 0x80 }
}

/// Scales a row. Bit j of `signs` makes element j negative.
#[inline(always)]
fn row<const LEN: usize>(row: &[i8; LEN], signs: u8, scale: f32, out: &mut [f32; LEN]) {
    for (j, (value, out)) in row.iter().zip(out).enumerate() {
        let value = scale * f32::from(*value);
        *out = if signs >> j & 1 == 1 { -value } else { value };
    }
}

/// d × (s + ½).
#[inline(always)]
fn between(d: f32, scale: u8) -> f32 {
    d * (0.5 + f32::from(scale))
}

/// The nibble of `packed` at `at`, low ones first.
#[inline(always)]
fn nibble(packed: &[u8], at: usize) -> u8 {
    packed[at / 2] >> (4 * (at % 2)) & 15
}

/// Bits `from` to `from + count` of `bits` above those of `low`, as an index.
#[inline(always)]
fn index(low: u8, bits: u16, from: usize, count: usize) -> usize {
    usize::from(low) | usize::from(bits >> from & ((1 << count) - 1)) << 8
}

#[inline(always)]
pub(crate) fn iq2_xxs(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half(block, 0);
    let groups = field::<64>(block, 2).as_chunks::<8>().0;
    for (out, group) in out.as_chunks_mut::<32>().0.iter_mut().zip(groups) {
        let word = u32::from_le_bytes(*field(group, 4));
        let [.., top] = word.to_le_bytes();
        let scale = between(d, top >> 4) * 0.25;
        for (k, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
            row(&grid::IQ2_XXS[usize::from(group[k])], signs_of(word >> (7 * k)), scale, out);
        }
    }
}

#[inline(always)]
pub(crate) fn iq2_xs(block: &[u8; 74], out: &mut [f32; 256]) {
    let (d, scales) = (half(block, 0), field::<8>(block, 66));
    for (k, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
        let code = short(block, 2 + 2 * k);
        let scale = between(d, nibble(scales, k / 2)) * 0.25;
        row(&grid::IQ2_XS[usize::from(code & 511)], signs_of(u32::from(code >> 9)), scale, out);
    }
}

#[inline(always)]
pub(crate) fn iq2_s(block: &[u8; 82], out: &mut [f32; 256]) {
    let (d, low, signs) = (half(block, 0), field::<32>(block, 2), field::<32>(block, 34));
    let (high, scales) = (field::<8>(block, 66), field::<8>(block, 74));
    for (k, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
        let at = index(low[k], high[k / 4].into(), 2 * (k % 4), 2);
        row(&grid::IQ2_S[at], signs[k], between(d, nibble(scales, k / 2)) * 0.25, out);
    }
}

#[inline(always)]
pub(crate) fn iq3_xxs(block: &[u8; 98], out: &mut [f32; 256]) {
    let (d, rows) = (half(block, 0), field::<64>(block, 2));
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let word = u32::from_le_bytes(*field(block, 66 + 4 * group));
        let [.., top] = word.to_le_bytes();
        let scale = between(d, top >> 4) * 0.5;
        for (k, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
            let signs = signs_of(word >> (7 * (k / 2))) >> (4 * (k % 2));
            row(&grid::IQ3_XXS[usize::from(rows[8 * group + k])], signs, scale, out);
        }
    }
}

#[inline(always)]
pub(crate) fn iq3_s(block: &[u8; 110], out: &mut [f32; 256]) {
    let (d, low, high) = (half(block, 0), field::<64>(block, 2), field::<8>(block, 66));
    let (signs, scales) = (field::<32>(block, 74), field::<4>(block, 106));
    for (k, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
        let scale = d * f32::from(1 + 2 * nibble(scales, k / 8));
        let at = index(low[k], high[k / 8].into(), k % 8, 1);
        row(&grid::IQ3_S[at], signs[k / 2] >> (4 * (k % 2)), scale, out);
    }
}

/// Scales a row of `IQ1_S` and `IQ1_M`, whose values lie an eighth off the integers.
#[inline(always)]
fn offset(row: [i8; 8], negative: bool, scale: f32, out: &mut [f32; 8]) {
    let delta = if negative { -0.125 } else { 0.125 };
    for (value, out) in row.into_iter().zip(out) {
        *out = scale * (f32::from(value) + delta);
    }
}

/// d × (2s + 1).
#[inline(always)]
fn odd(d: f32, scale: u16) -> f32 {
    d * f32::from(2 * (scale & 7) + 1)
}

#[inline(always)]
pub(crate) fn iq1_s(block: &[u8; 50], out: &mut [f32; 256]) {
    let (d, low) = (half(block, 0), field::<32>(block, 2));
    for (k, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
        let high = short(block, 34 + 2 * (k / 4));
        let at = index(low[k], high, 3 * (k % 4), 3);
        offset(grid::IQ1[at], high & 0x8000 != 0, odd(d, high >> 12), out);
    }
}

/// There is no field for `d`: its nibbles are those that the scales leave.
#[inline(always)]
pub(crate) fn iq1_m(block: &[u8; 56], out: &mut [f32; 256]) {
    let (low, high) = (field::<32>(block, 0), field::<16>(block, 32));
    let scales: [u16; 4] = std::array::from_fn(|t| short(block, 48 + 2 * t));
    let bits = scales.iter().rev().fold(0, |bits, word| bits << 4 | word >> 12);
    let d = half(&bits.to_le_bytes(), 0);
    for (k, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
        let nibble = nibble(high, k);
        let at = index(low[k], nibble.into(), 0, 3);
        let group = k / 2;
        offset(grid::IQ1[at], nibble & 8 != 0, odd(d, scales[group / 4] >> (3 * (group % 4))), out);
    }
}
