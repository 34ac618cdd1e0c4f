//! Expands blocks of ggml: to a byte for each code, and a scale and a bias for each group.
//!
//! A weight is scale × (integer − offset) + bias, where the offset is that of [`Codes`](super::Codes).

use crate::{
    ggml::GgmlType,
    layout::ggml::{
        block::{field, half},
        kquant::pairs,
    },
};

/// What blocks become. Types without biases leave `biases` as they are.
#[derive(Debug)]
pub(in crate::matmul) struct Expanded<'a> {
    pub(in crate::matmul) codes: &'a mut [u8],
    pub(in crate::matmul) scales: &'a mut [f32],
    pub(in crate::matmul) biases: &'a mut [f32],
}

/// One block of `N` codes in `GROUPS` groups.
pub(in crate::matmul) type Block<'a, const N: usize, const GROUPS: usize> =
    (&'a mut [u8; N], &'a mut [f32; GROUPS], &'a mut [f32; GROUPS]);

/// Expands the blocks of a type that the fast path knows.
pub(in crate::matmul) fn expand(ggml_type: GgmlType, stored: &[u8], out: &mut Expanded<'_>) {
    match ggml_type {
        GgmlType::Q4_0 => each(stored, out, q4_0),
        GgmlType::Q4_1 => each(stored, out, q4_1),
        GgmlType::Q5_0 => each(stored, out, q5_0),
        GgmlType::Q5_1 => each(stored, out, q5_1),
        GgmlType::Q8_0 => each(stored, out, q8_0),
        GgmlType::Q4K => each(stored, out, q4_k),
        GgmlType::Q5K => each(stored, out, q5_k),
        GgmlType::Q6K => each(stored, out, q6_k),
        _ => unreachable!("BUG: these blocks have no form"),
    }
}

/// Calls `one` for each block.
fn each<const BYTES: usize, const N: usize, const GROUPS: usize>(
    stored: &[u8],
    out: &mut Expanded<'_>,
    one: impl Fn(&[u8; BYTES], Block<'_, N, GROUPS>),
) {
    let scales = out.scales.as_chunks_mut().0.iter_mut().zip(out.biases.as_chunks_mut().0);
    for ((block, codes), (scales, biases)) in stored.as_chunks().0.iter().zip(out.codes.as_chunks_mut().0).zip(scales) {
        one(block, (codes, scales, biases));
    }
}

/// Splits bytes into codes: the low nibbles, then the high ones.
fn nibbles(packed: &[u8], codes: &mut [u8]) {
    let (low, high) = codes.split_at_mut(packed.len());
    for ((byte, low), high) in packed.iter().zip(low).zip(high) {
        (*low, *high) = (byte & 15, byte >> 4);
    }
}

/// Adds bit j of `fifth` above the code of element j.
fn add_fifth(fifth: [u8; 4], codes: &mut [u8; 32]) {
    for (j, code) in codes.iter_mut().enumerate() {
        *code |= (fifth[j / 8] >> (j % 8) & 1) << 4;
    }
}

fn q4_0(block: &[u8; 18], (codes, scales, _): Block<'_, 32, 1>) {
    nibbles(field::<16>(block, 2), codes);
    scales[0] = half(block, 0);
}

fn q4_1(block: &[u8; 20], (codes, scales, biases): Block<'_, 32, 1>) {
    nibbles(field::<16>(block, 4), codes);
    (scales[0], biases[0]) = (half(block, 0), half(block, 2));
}

fn q5_0(block: &[u8; 22], (codes, scales, _): Block<'_, 32, 1>) {
    nibbles(field::<16>(block, 6), codes);
    add_fifth(*field(block, 2), codes);
    scales[0] = half(block, 0);
}

fn q5_1(block: &[u8; 24], (codes, scales, biases): Block<'_, 32, 1>) {
    nibbles(field::<16>(block, 8), codes);
    add_fifth(*field(block, 4), codes);
    (scales[0], biases[0]) = (half(block, 0), half(block, 2));
}

fn q8_0(block: &[u8; 34], (codes, scales, _): Block<'_, 32, 1>) {
    *codes = field::<32>(block, 2).map(|code| code ^ 0x80);
    scales[0] = half(block, 0);
}

/// The scales and biases of `Q4_K` and `Q5_K`.
fn scales_and_biases(block: &[u8], scales: &mut [f32; 8], biases: &mut [f32; 8]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    for ((scale, bias), [s, min]) in scales.iter_mut().zip(biases).zip(pairs(field(block, 4))) {
        (*scale, *bias) = (d * f32::from(s), -(dmin * f32::from(min)));
    }
}

fn q4_k(block: &[u8; 144], (codes, scales, biases): Block<'_, 256, 8>) {
    let packed = field::<128>(block, 16).as_chunks::<32>().0;
    for (packed, codes) in packed.iter().zip(codes.as_chunks_mut::<64>().0) {
        nibbles(packed, codes);
    }
    scales_and_biases(block, scales, biases);
}

fn q5_k(block: &[u8; 176], (codes, scales, biases): Block<'_, 256, 8>) {
    let (fifth, packed) = (field::<32>(block, 16), field::<128>(block, 48).as_chunks::<32>().0);
    for (k, (packed, codes)) in packed.iter().zip(codes.as_chunks_mut::<64>().0).enumerate() {
        nibbles(packed, codes);
        let (low, high) = codes.split_at_mut(32);
        for ((fifth, low), high) in fifth.iter().zip(low).zip(high) {
            *low |= (fifth >> (2 * k) & 1) << 4;
            *high |= (fifth >> (2 * k + 1) & 1) << 4;
        }
    }
    scales_and_biases(block, scales, biases);
}

fn q6_k(block: &[u8; 210], (codes, scales, _): Block<'_, 256, 16>) {
    let (low, high) = (field::<128>(block, 0), field::<64>(block, 128));
    let halves = low.as_chunks::<64>().0.iter().zip(high.as_chunks::<32>().0);
    for ((low, high), codes) in halves.zip(codes.as_chunks_mut::<128>().0) {
        nibbles(low, codes);
        for (slot, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (code, high) in codes.iter_mut().zip(high) {
                *code |= (high >> (2 * slot) & 3) << 4;
            }
        }
    }
    let d = half(block, 208);
    for (scale, s) in scales.iter_mut().zip(field::<16>(block, 192)) {
        *scale = d * f32::from(s.cast_signed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matmul::fast::Codes;

    /// The decoder rounds each operation, and a product does not, so that the two differ by a rounding.
    #[test]
    fn scales_times_codes_are_what_the_decoder_gives() {
        use GgmlType::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
        for ggml_type in [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4K, Q5K, Q6K] {
            let (count, group) = (512, if ggml_type == Q6K { 16 } else { 32 });
            let len = count / ggml_type.block_size() * ggml_type.block_bytes();
            let stored: Vec<u8> = (0..len).map(|i| (i * i * 31 + i * 7).to_le_bytes()[0] & 0xBB).collect();
            let (mut codes, mut scales, mut biases) =
                (vec![0; count], vec![0.0; count / group], vec![0.0; count / group]);
            let out = &mut Expanded { codes: &mut codes, scales: &mut scales, biases: &mut biases };
            expand(ggml_type, &stored, out);
            let mut decoded = vec![0.0; count];
            crate::ggml::decode(ggml_type, &stored, &mut decoded).expect("the lengths fit");
            for (i, decoded) in decoded.iter().enumerate() {
                let offset = Codes::Blocks(ggml_type).offset();
                let code = f64::from(i32::from(codes[i]) - offset);
                let (scale, bias) = (f64::from(scales[i / group]), f64::from(biases[i / group]));
                let found = scale * code + bias;
                let most = 1e-6 * ((scale * code).abs() + bias.abs());
                assert!((found - f64::from(*decoded)).abs() <= most, "{ggml_type}, {i}: {found}, not {decoded}");
            }
        }
    }
}
