//! Rows of blocks of ggml with one row of an input: codes go from the blocks to the products without being stored.
//!
//! ```text
//! for 16 groups          prefetch
//!     for 64 codes       load, expand as `blocks` does; dot products of four
//!     sums, scales       as for the schemes
//! ```
//!
//! What is left of a row behind its last sixteen groups is expanded first.

use std::arch::x86_64::{
    __m256i, __m512, _mm512_broadcast_i64x4, _mm512_castsi256_si512, _mm512_cvtph_ps, _mm512_dpbusd_epi32,
    _mm512_inserti64x4, _mm512_set1_epi8, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_xor_si512,
};

use super::{
    AHEAD,
    blocks::{self, Nibbles},
    one::{self, BYTES, NEAR, WIDE_BYTES},
    prefetch, prefetch_far,
};
use crate::{
    ggml::GgmlType,
    layout::ggml::block::{field, short},
    matmul::{
        avx2::blocks::scales_and_biases,
        fast::{CHAINS, Codes, Expanded, ROWS, Row},
    },
};

/// Codes of a vector.
const LANES: usize = 64;

/// Computes `y`: rows of blocks, each of `stored_len` bytes, with one row of the input.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn one(ggml_type: GgmlType, stored: &[u8], stored_len: usize, input: Row<'_>, y: &mut [f32]) {
    let mut sums = [_mm512_setzero_ps(); ROWS];
    for (stored, sums) in stored.chunks_exact(stored_len).zip(&mut sums) {
        *sums = match ggml_type {
            GgmlType::Q4_0 => small::<18, 2, 0, false>(ggml_type, stored, input),
            GgmlType::Q4_1 => small::<20, 4, 0, true>(ggml_type, stored, input),
            GgmlType::Q5_0 => small::<22, 6, 2, false>(ggml_type, stored, input),
            GgmlType::Q5_1 => small::<24, 8, 4, true>(ggml_type, stored, input),
            GgmlType::Q8_0 => bytes(stored, input),
            GgmlType::Q4K => large::<144, false>(ggml_type, stored, input),
            GgmlType::Q5K => large::<176, true>(ggml_type, stored, input),
            _ => six_bits(stored, input),
        };
    }
    y.copy_from_slice(&one::totals(&sums)[..y.len()]);
}

/// The lanes of a row of blocks of 32 codes, as [`blocks`] expands them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn small<const BYTES_OF: usize, const CODES: usize, const FIFTH: usize, const BIASES: bool>(
    ggml_type: GgmlType,
    stored: &[u8],
    input: Row<'_>,
) -> __m512 {
    let nibbles = Nibbles::new();
    let mut lanes = _mm512_setzero_ps();
    let (pieces, rest) = stored.as_chunks::<BYTES_OF>().0.as_chunks::<CHAINS>();
    for (piece, of) in pieces.iter().enumerate() {
        fetch(of.as_flattened());
        let high = &input.high.as_chunks::<LANES>().0[piece * 8..][..8];
        let mut sums = [_mm512_setzero_si512(); 8];
        for i in 0..8 {
            let integers = nibbles.pair::<BYTES_OF, CODES, FIFTH>(&of[2 * i], &of[2 * i + 1]);
            sums[i] = _mm512_dpbusd_epi32(sums[i], integers, bytemuck::cast(high[i]));
        }
        let sums = one::groups::<BYTES, 8>(sums, 1);
        let scales = halves(of, 0);
        let biases = if BIASES { Some(halves(of, 2)) } else { None };
        lanes = one::scale(input, piece, lanes, sums, scales, biases);
    }
    last::<BYTES>(ggml_type, rest.as_flattened(), rest.len() * 32, pieces.len(), input, lanes)
}

/// The lanes of a row of `Q8_0`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn bytes(stored: &[u8], input: Row<'_>) -> __m512 {
    let mut lanes = _mm512_setzero_ps();
    let (pieces, rest) = stored.as_chunks::<34>().0.as_chunks::<CHAINS>();
    for (piece, of) in pieces.iter().enumerate() {
        fetch(of.as_flattened());
        let high = &input.high.as_chunks::<LANES>().0[piece * 8..][..8];
        let low = &input.low.as_chunks::<LANES>().0[piece * 8..][..8];
        let mut sums = [_mm512_setzero_si512(); 8];
        for i in 0..8 {
            let a: __m256i = bytemuck::cast(*field::<32>(&of[2 * i], 2));
            let b: __m256i = bytemuck::cast(*field::<32>(&of[2 * i + 1], 2));
            let signed = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b);
            let integers = _mm512_xor_si512(signed, _mm512_set1_epi8(-128));
            sums[i] = one::dot::<WIDE_BYTES>(sums[i], integers, high, low, i);
        }
        let sums = one::groups::<WIDE_BYTES, 8>(sums, 1);
        lanes = one::scale(input, piece, lanes, sums, halves(of, 0), None);
    }
    last::<WIDE_BYTES>(GgmlType::Q8_0, rest.as_flattened(), rest.len() * 32, pieces.len(), input, lanes)
}

/// The lanes of a row of `Q4_K`, or of `Q5_K` where there are `FIFTH` bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn large<const BYTES_OF: usize, const FIFTH: bool>(ggml_type: GgmlType, stored: &[u8], input: Row<'_>) -> __m512 {
    let nibbles = Nibbles::new();
    let mut lanes = _mm512_setzero_ps();
    let (pieces, rest) = stored.as_chunks::<BYTES_OF>().0.as_chunks::<2>();
    for (piece, of) in pieces.iter().enumerate() {
        fetch(of.as_flattened());
        let high = &input.high.as_chunks::<LANES>().0[piece * 8..][..8];
        let mut sums = [_mm512_setzero_si512(); 8];
        let (mut scales, mut biases) = ([[0.0; 8]; 2], [[0.0; 8]; 2]);
        for half in 0..2 {
            let block = &of[half];
            let fifth = _mm512_broadcast_i64x4(bytemuck::cast::<[u8; 32], __m256i>(*field(block, 16)));
            for k in 0..4 {
                let integers = nibbles.wide::<FIFTH>(*field(block, BYTES_OF - 128 + 32 * k), fifth, k);
                let i = 4 * half + k;
                sums[i] = _mm512_dpbusd_epi32(sums[i], integers, bytemuck::cast(high[i]));
            }
            scales_and_biases(block, &mut scales[half], &mut biases[half]);
        }
        let sums = one::groups::<BYTES, 8>(sums, 1);
        lanes = one::scale(input, piece, lanes, sums, bytemuck::cast(scales), Some(bytemuck::cast(biases)));
    }
    last::<BYTES>(ggml_type, rest.as_flattened(), rest.len() * 256, pieces.len(), input, lanes)
}

/// The lanes of a row of `Q6_K`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn six_bits(stored: &[u8], input: Row<'_>) -> __m512 {
    let mut lanes = _mm512_setzero_ps();
    for (piece, block) in stored.as_chunks::<210>().0.iter().enumerate() {
        fetch(block);
        let high = &input.high.as_chunks::<LANES>().0[piece * 4..][..4];
        let integers = blocks::six_bit_integers(block);
        let mut sums = [_mm512_setzero_si512(); 4];
        for i in 0..4 {
            sums[i] = _mm512_dpbusd_epi32(sums[i], integers[i], bytemuck::cast(high[i]));
        }
        let sums = one::groups::<BYTES, 4>(sums, 1);
        lanes = one::scale(input, piece, lanes, sums, blocks::six_bit_scales(block), None);
    }
    lanes
}

/// Adds what is left of a row behind `pieces` times sixteen groups: `count` codes in groups of 32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn last<const KIND: u8>(
    ggml_type: GgmlType,
    stored: &[u8],
    count: usize,
    pieces: usize,
    input: Row<'_>,
    lanes: __m512,
) -> __m512 {
    if count == 0 {
        return lanes;
    }
    let (mut codes, mut scales, mut biases) = ([[0; LANES]; 8], [0.0; CHAINS], [0.0; CHAINS]);
    let groups = count / 32;
    let out = &mut Expanded {
        codes: &mut codes.as_flattened_mut()[..count],
        scales: &mut scales[..groups],
        biases: &mut biases[..groups],
    };
    blocks::expand(ggml_type, stored, out);
    let high = &input.high.as_chunks::<LANES>().0[pieces * 8..][..8];
    let low = if KIND == WIDE_BYTES { &input.low.as_chunks::<LANES>().0[pieces * 8..][..8] } else { high };
    let mut sums = [_mm512_setzero_si512(); 8];
    for i in 0..8 {
        sums[i] = one::dot::<KIND>(sums[i], bytemuck::cast(codes[i]), high, low, i);
    }
    let biases = if Codes::Blocks(ggml_type).have_biases() { Some(bytemuck::cast(biases)) } else { None };
    one::scale(input, pieces, lanes, one::groups::<KIND, 8>(sums, 1), bytemuck::cast(scales), biases)
}

/// Reads the F16 at `at` of each block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn halves<const BYTES_OF: usize>(blocks: &[[u8; BYTES_OF]; CHAINS], at: usize) -> __m512 {
    let mut numbers = [0; CHAINS];
    for i in 0..CHAINS {
        numbers[i] = short(&blocks[i], at);
    }
    _mm512_cvtph_ps(bytemuck::cast::<_, __m256i>(numbers))
}

/// Prefetches what follows a piece.
#[inline]
fn fetch(piece: &[u8]) {
    for line in piece.chunks(64) {
        prefetch_far(line, AHEAD);
        prefetch(line, NEAR);
    }
}
