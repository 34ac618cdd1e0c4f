//! Blocks of 256 elements: scales of groups from a [search](super::search), rounded to a few bits, and the codes that
//! are nearest under the scales as stored.

use super::search::{self, LEAST, Spanning, Symmetric, code_of_four_bits, nearest};
use crate::{
    layout::ggml::{block::half, kquant::pairs},
    portable::element::f32_to_f16,
};

fn put_half(value: f32, out: &mut [u8]) {
    out.copy_from_slice(&f32_to_f16(value).to_le_bytes());
}

/// Rounds to 6 bits. Only the low byte of the integer counts, as in ggml.
fn six_bits(value: f32) -> u8 {
    nearest(value).to_le_bytes()[0].min(63)
}

/// Packs the scales and the minima of the eight groups of `Q4_K`.
fn put_pairs(scales: [u8; 8], mins: [u8; 8], out: &mut [u8]) {
    for (j, (scale, min)) in scales.into_iter().zip(mins).enumerate() {
        if j < 4 {
            (out[j], out[j + 4]) = (scale, min);
        } else {
            out[j + 4] = scale & 15 | min << 4;
            out[j - 4] |= scale >> 4 << 6;
            out[j] |= min >> 4 << 6;
        }
    }
}

pub(super) fn q4_k(values: &[f32; 256], out: &mut [u8; 144]) {
    let groups = values.as_chunks::<32>().0;
    let mut found: [Spanning; 8] = std::array::from_fn(|group| search::spanning(&groups[group]));
    let largest = |numbers: [f32; 8]| numbers.into_iter().fold(0f32, |most, n| if n > most { n } else { most });
    let (scales, mins) = (found.map(|group| group.scale), found.map(|group| group.min));
    let (scale, min) = (largest(scales), largest(mins));
    let inverse = |of: f32| if of > 0.0 { 63.0 / of } else { 0.0 };
    let (inverse_scale, inverse_min) = (inverse(scale), inverse(min));
    put_half(scale / 63.0, &mut out[..2]);
    put_half(min / 63.0, &mut out[2..4]);
    put_pairs(
        scales.map(|scale| six_bits(inverse_scale * scale)),
        mins.map(|min| six_bits(inverse_min * min)),
        &mut out[4..16],
    );

    let (d, dmin) = (half(out, 0), half(out, 2));
    let stored = pairs(out[4..16].first_chunk().expect("there are twelve bytes"));
    for ((group, values), [scale, min]) in found.iter_mut().zip(groups).zip(stored) {
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        // Under a scale of zero the codes of the search stay.
        if scale != 0.0 {
            group.codes = values.map(|value| code_of_four_bits((value + min) / scale));
        }
    }
    for (pair, out) in found.as_chunks::<2>().0.iter().zip(out[16..].as_chunks_mut::<32>().0) {
        let [low, high] = pair;
        for (out, (low, high)) in out.iter_mut().zip(low.codes.iter().zip(&high.codes)) {
            *out = low | high << 4;
        }
    }
}

pub(super) fn q6_k(values: &[f32; 256], out: &mut [u8; 210]) {
    let groups = values.as_chunks::<16>().0;
    let mut found: [Symmetric; 16] = std::array::from_fn(|group| search::symmetric(&groups[group]));
    let mut largest = 0f32;
    for group in &found {
        if group.scale.abs() > largest.abs() {
            largest = group.scale;
        }
    }
    if largest.abs() < LEAST {
        *out = [0; 210];
        return;
    }
    let inverse = -128.0 / largest;
    put_half(1.0 / inverse, &mut out[208..]);
    let d = half(out, 208);
    for ((group, values), out) in found.iter_mut().zip(groups).zip(&mut out[192..208]) {
        let scale = nearest(inverse * group.scale).min(127).to_le_bytes()[0];
        *out = scale;
        let scale = d * f32::from(scale.cast_signed());
        // Under a scale of zero the codes of the search stay.
        if scale != 0.0 {
            group.codes = values.map(|value| search::code_of_six_bits(value / scale));
        }
    }
    let codes: [[u8; 16]; 16] = found.map(|group| group.codes.map(|code| (code + 32).cast_unsigned()));
    for (half, codes) in codes.as_flattened().as_chunks::<128>().0.iter().enumerate() {
        for i in 0..32 {
            let [a, b, c, d] = [codes[i], codes[i + 32], codes[i + 64], codes[i + 96]];
            out[64 * half + i] = a & 15 | c << 4;
            out[64 * half + 32 + i] = b & 15 | d << 4;
            out[128 + 32 * half + i] = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6;
        }
    }
}
