//! The exact path for one row of an input: weights go from their codes to the products without being stored.
//!
//! ```text
//! for each group, for 4 rows     codes of 4 bits: the sixteen possible values
//!     for 16 codes, for 4 rows   load, shift, look up, fused multiply and add; or load, to numbers, scale, bias, same
//! ```
//!
//! Four rows hide how long an addition takes. Bound: the port of look-ups and shifts, two for 16 codes.

use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_mul_ps, _mm512_permutexvar_ps, _mm512_set1_ps,
    _mm512_setzero_ps,
};

use super::{decode, expand, one, prefetch};
use crate::matmul::{
    exact::LANES,
    fast::{CHAINS, ROWS},
    weights::Encoded,
};

/// Rows of weights that are taken together.
const TAKEN: usize = 4;

/// Computes `y`: rows of affine weights, with codes of 4 or 8 bits, with one row of the input.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn multiply(bits: u8, parts: Encoded<'_>, x: &[f32], y: &mut [f32]) {
    match (bits, parts.scheme.group_elements()) {
        (4, 128) => rows::<4, 8>(parts, x, y),
        (4, 64) => rows::<4, 4>(parts, x, y),
        (4, _) => rows::<4, 2>(parts, x, y),
        (_, 128) => rows::<8, 8>(parts, x, y),
        (_, 64) => rows::<8, 4>(parts, x, y),
        _ => rows::<8, 2>(parts, x, y),
    }
}

/// Computes the numbers where a group has `STEPS` times sixteen codes of `BITS` bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn rows<const BITS: usize, const STEPS: usize>(parts: Encoded<'_>, x: &[f32], y: &mut [f32]) {
    // Bytes of sixteen codes, and of a group of numbers.
    let (step, size) = (BITS * 2, parts.float.size());
    let groups = parts.scale.len() / size / y.len().max(1);
    let row = groups * STEPS * step;
    let x = x.as_chunks::<LANES>().0.as_chunks::<STEPS>().0;
    for (set, y) in y.chunks_mut(TAKEN).enumerate() {
        let mut sums = [_mm512_setzero_ps(); ROWS];
        // Rows that are missing are computed from the last one.
        let place = |r: usize| set * TAKEN + r.min(y.len() - 1);
        for (block, x) in x[..groups].chunks(CHAINS).enumerate() {
            let (mut scales, mut biases) = ([[0.0; CHAINS]; TAKEN], [[0.0; CHAINS]; TAKEN]);
            let mut stored: [&[u8]; TAKEN] = [&[]; TAKEN];
            for r in 0..TAKEN {
                let first = place(r) * groups + block * CHAINS;
                let number = |part: &[u8]| expand::sixteen(parts.float, &part[first * size..], x.len());
                scales[r] = bytemuck::cast(number(parts.scale));
                biases[r] = bytemuck::cast(number(parts.bias));
                stored[r] = &parts.weight[place(r) * row + block * CHAINS * STEPS * step..][..x.len() * STEPS * step];
            }
            for (g, x) in x.iter().enumerate() {
                for r in 0..TAKEN {
                    let stored = &stored[r][g * STEPS * step..][..STEPS * step];
                    prefetch(stored, TAKEN * row);
                    sums[r] = add::<BITS, STEPS>(stored, [scales[r][g], biases[r][g]], x, sums[r]);
                }
            }
        }
        y.copy_from_slice(&one::totals(&sums)[..y.len()]);
    }
}

/// Adds the products of a group.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn add<const BITS: usize, const STEPS: usize>(
    stored: &[u8],
    [scale, bias]: [f32; 2],
    x: &[[f32; LANES]; STEPS],
    mut sum: __m512,
) -> __m512 {
    if BITS == 4 {
        let values = decode::values(scale, bias);
        for (word, x) in stored.as_chunks::<8>().0.iter().zip(x) {
            sum = _mm512_fmadd_ps(_mm512_permutexvar_ps(decode::nibbles(*word), values), bytemuck::cast(*x), sum);
        }
        return sum;
    }
    let (scale, bias) = (_mm512_set1_ps(scale), _mm512_set1_ps(bias));
    for (codes, x) in stored.as_chunks::<LANES>().0.iter().zip(x) {
        let weights = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(decode::lanes(*codes)), scale), bias);
        sum = _mm512_fmadd_ps(weights, bytemuck::cast(*x), sum);
    }
    sum
}
