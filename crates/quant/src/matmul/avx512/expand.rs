//! Expands codes to a byte each, and reads scales.
//!
//! Eight codes of any width are whole bytes. One shuffle brings them into 64 bits of their own, and one instruction
//! shifts each into its byte.

use std::arch::x86_64::{
    __m128i, __m256i, __m512, __m512i, _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_castsi512_ps,
    _mm512_cvtepu8_epi16, _mm512_maskz_cvtepu16_epi32, _mm512_maskz_cvtph_ps, _mm512_maskz_mov_ps,
    _mm512_multishift_epi64_epi8, _mm512_permutexvar_epi8, _mm512_set1_epi8, _mm512_set1_epi64, _mm512_shuffle_epi8,
    _mm512_slli_epi16, _mm512_slli_epi32, _mm512_ternarylogic_epi32,
};

use super::prefetch;
use crate::{
    FloatType,
    matmul::fast::{CHAINS, Codes, E2M1_INTEGERS, Scales, portable},
};

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn scales(scales: Scales<'_>, out: &mut [f32], biases: &mut [f32]) {
    let parts = scales.parts;
    if !parts.scheme.is_affine() {
        return scales.read(out, biases);
    }
    for (part, out) in [(parts.scale, out), (parts.bias, biases)] {
        match parts.float {
            FloatType::BF16 => rows::<2>(FloatType::BF16, part, scales, out),
            FloatType::F16 => rows::<2>(FloatType::F16, part, scales, out),
            FloatType::F32 => rows::<4>(FloatType::F32, part, scales, out),
        }
    }
}

/// Reads numbers of `SIZE` bytes, a row of groups after the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn rows<const SIZE: usize>(
    float: FloatType,
    part: &[u8],
    Scales { groups, padded_groups, .. }: Scales<'_>,
    out: &mut [f32],
) {
    let rows = part.chunks_exact(SIZE * groups).len();
    for (row, out) in out.chunks_exact_mut(padded_groups).enumerate().take(rows) {
        let stored = &part[row * SIZE * groups..];
        for (block, out) in out.as_chunks_mut::<CHAINS>().0.iter_mut().enumerate() {
            let first = block * CHAINS;
            *out = bytemuck::cast(sixteen(float, &stored[SIZE * first..], (groups - first).min(CHAINS)));
        }
    }
}

/// Reads `count` numbers, at most sixteen; the others are zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn sixteen(float: FloatType, stored: &[u8], count: usize) -> __m512 {
    let lanes = u16::MAX >> (CHAINS - count);
    let halves = || {
        if let Some(stored) = stored.first_chunk::<32>() {
            return bytemuck::cast::<_, __m256i>(*stored);
        }
        let mut bytes = [[0; 2]; CHAINS];
        for (bytes, stored) in bytes.iter_mut().zip(stored.as_chunks::<2>().0) {
            *bytes = *stored;
        }
        bytemuck::cast(bytes)
    };
    if float == FloatType::F32 {
        let mut numbers = [0.0; CHAINS];
        for (number, stored) in numbers.iter_mut().zip(stored.as_chunks().0).take(count) {
            *number = f32::from_le_bytes(*stored);
        }
        return bytemuck::cast(numbers);
    }
    self::halves(float, halves(), lanes)
}

/// Sixteen numbers as `f32`, with zeros where there is no bit in `live`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn numbers(float: FloatType, stored: &[u8], live: u16) -> __m512 {
    if float == FloatType::F32 {
        let numbers: [u8; 64] = *stored.first_chunk().expect("the caller passes sixteen numbers");
        return _mm512_maskz_mov_ps(live, bytemuck::cast(numbers));
    }
    halves(
        float,
        bytemuck::cast::<[u8; 32], _>(*stored.first_chunk().expect("the caller passes sixteen numbers")),
        live,
    )
}

/// Sixteen numbers of 16 bits as `f32`, with zeros where there is no bit in `live`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn halves(float: FloatType, halves: __m256i, live: u16) -> __m512 {
    if float == FloatType::F16 {
        return _mm512_maskz_cvtph_ps(live, halves);
    }
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_maskz_cvtepu16_epi32(live, halves)))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn codes(codes: Codes, stored: &[u8], out: &mut [u8]) {
    match codes {
        Codes::Nibbles => nibbles::<false>(codes, stored, out),
        Codes::E2m1 => nibbles::<true>(codes, stored, out),
        Codes::Packed(2) => packed::<2, 16>(codes, stored, out),
        Codes::Packed(3) => packed::<3, 24>(codes, stored, out),
        Codes::Packed(5) => packed::<5, 40>(codes, stored, out),
        Codes::Packed(6) => packed::<6, 48>(codes, stored, out),
        Codes::Packed(_) | Codes::Bytes | Codes::Blocks(_) => out.copy_from_slice(stored),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn nibbles<const E2M1: bool>(codes: Codes, stored: &[u8], out: &mut [u8]) {
    let integers = _mm512_broadcast_i32x4(bytemuck::cast::<[u8; 16], __m128i>(E2M1_INTEGERS));
    let len = stored.len();
    let (stored, stored_rest) = stored.as_chunks::<32>();
    let (out, out_rest) = out.as_chunks_mut::<64>();
    for (stored, out) in stored.iter().zip(out) {
        // The same columns of the next tile.
        prefetch(stored, len);
        // Each byte becomes a word, and its upper code moves to the word's upper byte.
        let words = _mm512_cvtepu8_epi16(bytemuck::cast::<_, __m256i>(*stored));
        // (a | b) & c
        let codes = _mm512_ternarylogic_epi32::<0xA8>(words, _mm512_slli_epi16::<4>(words), _mm512_set1_epi8(15));
        *out = bytemuck::cast::<__m512i, _>(if E2M1 { _mm512_shuffle_epi8(integers, codes) } else { codes });
    }
    portable::expand(codes, stored_rest, out_rest);
}

/// Expands codes of `BITS` bits, 64 of them in `BYTES` bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn packed<const BITS: usize, const BYTES: usize>(codes: Codes, stored: &[u8], out: &mut [u8]) {
    let (mut order, mut shifts) = ([0u8; 64], 0u64);
    for (i, order) in (0..64).zip(&mut order) {
        *order = u8::try_from(i / 8 * BITS + (i % 8).min(BITS - 1)).expect("it is below 64");
    }
    for i in (0..8).rev() {
        shifts = (shifts << 8) | (i * BITS as u64);
    }
    let (order, shifts) = (bytemuck::cast::<_, __m512i>(order), _mm512_set1_epi64(shifts.cast_signed()));
    let mask = _mm512_set1_epi8((u8::MAX >> (8 - BITS)).cast_signed());
    let (stored, stored_rest) = stored.as_chunks::<BYTES>();
    let (out, out_rest) = out.as_chunks_mut::<64>();
    for (stored, out) in stored.iter().zip(out) {
        let mut bytes = [0; 64];
        bytes[..BYTES].copy_from_slice(stored);
        let eights = _mm512_permutexvar_epi8(order, bytemuck::cast(bytes));
        *out = bytemuck::cast(_mm512_and_si512(_mm512_multishift_epi64_epi8(shifts, eights), mask));
    }
    portable::expand(codes, stored_rest, out_rest);
}
