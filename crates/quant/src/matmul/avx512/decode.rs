//! Decodes affine weights to `f32` for the exact path, with the bits of [`Decoder`](crate::Decoder) but for the payload
//! of a NaN.
//!
//! ```text
//! for each group      codes of at most 4 bits: the sixteen possible values, once
//!     for 16 codes    to lanes of 32 bits, then a look-up; or to numbers, scale, bias
//! ```
//!
//! Sixteen codes of 4 bits are one word of 64 bits. It is loaded to all lanes, and one instruction shifts a code of its
//! own to the end of each; the look-up ignores what is above. Bound: the port of look-ups and shifts, two for 16 codes.

use std::arch::x86_64::{
    __m128i, __m512, __m512i, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_mul_ps,
    _mm512_multishift_epi64_epi8, _mm512_permutexvar_ps, _mm512_set1_epi64, _mm512_set1_ps, _mm512_setr_ps,
};

use super::{AHEAD, expand, prefetch};
use crate::{
    FloatType,
    matmul::{
        exact::LANES,
        fast::{CHAINS, Codes},
        weights::Encoded,
    },
    portable,
};

/// Codes that are expanded at once: a multiple of every group.
const PIECE: usize = 1024;

/// Most groups of a piece.
const GROUPS: usize = PIECE / 32;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn affine(bits: u8, parts: Encoded<'_>, out: &mut [f32]) {
    let group = parts.scheme.group_elements();
    let mut expanded = [0; PIECE];
    for (piece, out) in out.chunks_mut(PIECE).enumerate() {
        let groups = out.len() / group;
        let parts = parts.groups(piece * PIECE / group, groups);
        let (scales, biases) = (numbers(parts, parts.scale, groups), numbers(parts, parts.bias, groups));
        let out = out.chunks_exact_mut(group);
        if bits == 4 {
            for ((out, stored), (scale, bias)) in
                out.zip(parts.weight.chunks_exact(group / 2)).zip(scales.iter().zip(&biases))
            {
                let values = values(*scale, *bias);
                prefetch(stored, AHEAD);
                for (word, out) in stored.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<LANES>().0) {
                    *out = bytemuck::cast(_mm512_permutexvar_ps(nibbles(*word), values));
                }
            }
            continue;
        }
        let codes = if bits == 8 {
            parts.weight
        } else {
            expand::codes(Codes::Packed(bits), parts.weight, &mut expanded[..groups * group]);
            &expanded
        };
        for ((out, codes), (scale, bias)) in out.zip(codes.chunks_exact(group)).zip(scales.iter().zip(&biases)) {
            if bits < 4 {
                few(*scale, *bias, codes, out);
            } else {
                many(*scale, *bias, codes, out);
            }
        }
    }
}

/// Reads numbers of type `float`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn floats(float: FloatType, stored: &[u8], out: &mut [f32]) {
    let (out, rest) = out.as_chunks_mut::<LANES>();
    let (stored, stored_rest) = stored.split_at(out.len() * LANES * float.size());
    for (stored, out) in stored.chunks_exact(LANES * float.size()).zip(out) {
        *out = bytemuck::cast(expand::numbers(float, stored, u16::MAX));
    }
    portable::read(float, stored_rest, rest);
}

/// Reads the scales or the biases of at most [`GROUPS`] groups.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn numbers(parts: Encoded<'_>, stored: &[u8], groups: usize) -> [f32; GROUPS] {
    let mut numbers = [0.0; GROUPS];
    for (i, out) in numbers.as_chunks_mut::<CHAINS>().0.iter_mut().enumerate() {
        if let Some(count @ 1..) = groups.checked_sub(i * CHAINS) {
            let stored = &stored[i * CHAINS * parts.float.size()..];
            *out = bytemuck::cast(expand::sixteen(parts.float, stored, count.min(CHAINS)));
        }
    }
    numbers
}

/// Decodes a group of codes below 16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn few(scale: f32, bias: f32, codes: &[u8], out: &mut [f32]) {
    let values = values(scale, bias);
    for (codes, out) in codes.as_chunks::<LANES>().0.iter().zip(out.as_chunks_mut::<LANES>().0) {
        *out = bytemuck::cast::<__m512, _>(_mm512_permutexvar_ps(lanes(*codes), values));
    }
}

/// Decodes a group of codes of up to 8 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn many(scale: f32, bias: f32, codes: &[u8], out: &mut [f32]) {
    prefetch(codes, AHEAD);
    let (scale, bias) = (_mm512_set1_ps(scale), _mm512_set1_ps(bias));
    for (codes, out) in codes.as_chunks::<LANES>().0.iter().zip(out.as_chunks_mut::<LANES>().0) {
        let product = _mm512_mul_ps(_mm512_cvtepi32_ps(lanes(*codes)), scale);
        *out = bytemuck::cast(_mm512_add_ps(product, bias));
    }
}

/// The values of all codes below 16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn values(scale: f32, bias: f32) -> __m512 {
    let numbers = _mm512_setr_ps(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0);
    _mm512_add_ps(_mm512_mul_ps(numbers, _mm512_set1_ps(scale)), _mm512_set1_ps(bias))
}

/// Brings each of sixteen codes of 4 bits to the low end of a lane of its own, with others above it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn nibbles(word: [u8; 8]) -> __m512i {
    let mut places = [[0u8; 4]; LANES];
    for i in 0..LANES {
        places[i][0] = NIBBLES[i];
    }
    _mm512_multishift_epi64_epi8(bytemuck::cast(places), _mm512_set1_epi64(i64::from_le_bytes(word)))
}

/// The first bit of each code.
const NIBBLES: [u8; LANES] = [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60];

/// Brings each byte to a lane of its own.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn lanes(codes: [u8; LANES]) -> __m512i {
    _mm512_cvtepu8_epi32(bytemuck::cast::<_, __m128i>(codes))
}
