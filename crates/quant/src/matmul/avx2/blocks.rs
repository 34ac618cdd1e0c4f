//! Expands blocks of ggml: codes to a byte each, and the scales and biases of groups.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_set_epi64x, _mm_srli_epi16, _mm256_and_si256,
    _mm256_cmpeq_epi8, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_cvtph_ps, _mm256_mul_ps,
    _mm256_or_si256, _mm256_set_m128i, _mm256_set1_epi8, _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_set1_ps,
    _mm256_setr_epi64x, _mm256_setzero_ps, _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srli_epi16, _mm256_xor_ps,
    _mm256_xor_si256,
};

use super::{AHEAD, prefetch};
use crate::{
    ggml::GgmlType,
    layout::ggml::block::{field, short},
    matmul::fast::{Expanded, expand_blocks},
};

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn expand(ggml_type: GgmlType, stored: &[u8], out: &mut Expanded<'_>) {
    match ggml_type {
        GgmlType::Q4_0 => small::<18, 2, 0, false>(stored, out),
        GgmlType::Q4_1 => small::<20, 4, 0, true>(stored, out),
        GgmlType::Q5_0 => small::<22, 6, 2, false>(stored, out),
        GgmlType::Q5_1 => small::<24, 8, 4, true>(stored, out),
        GgmlType::Q8_0 => bytes(stored, out),
        GgmlType::Q4K => large::<144, false>(stored, out),
        GgmlType::Q5K => large::<176, true>(stored, out),
        GgmlType::Q6K => six_bits(stored, out),
        _ => expand_blocks(ggml_type, stored, out),
    }
}

/// Expands blocks of 32 codes whose nibbles start at `CODES`, and whose fifth bits start at `FIFTH` unless that is 0.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn small<const BYTES: usize, const CODES: usize, const FIFTH: usize, const BIASES: bool>(
    stored: &[u8],
    out: &mut Expanded<'_>,
) {
    let blocks = stored.as_chunks::<BYTES>().0;
    for (block, codes) in blocks.iter().zip(out.codes.as_chunks_mut::<32>().0) {
        prefetch(block, AHEAD);
        let packed: __m128i = bytemuck::cast(*field::<16>(block, CODES));
        let both = _mm256_set_m128i(_mm_srli_epi16::<4>(packed), packed);
        let mut integers = _mm256_and_si256(both, _mm256_set1_epi8(15));
        if FIFTH > 0 {
            integers = _mm256_or_si256(integers, fifth(*field(block, FIFTH)));
        }
        *codes = bytemuck::cast(integers);
    }
    halves(blocks, 0, out.scales);
    if BIASES {
        halves(blocks, 2, out.biases);
    }
}

/// Spreads 32 bits to the fifth bits of 32 codes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn fifth(bits: [u8; 4]) -> __m256i {
    let eights = [0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303];
    let order = _mm256_setr_epi64x(eights[0], eights[1], eights[2], eights[3]);
    let spread = _mm256_shuffle_epi8(_mm256_set1_epi32(i32::from_le_bytes(bits)), order);
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    let set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
    _mm256_and_si256(set, _mm256_set1_epi8(16))
}

/// Reads the F16 at `at` of each block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves<const BYTES: usize>(blocks: &[[u8; BYTES]], at: usize, out: &mut [f32]) {
    let (full, rest) = blocks.as_chunks::<8>();
    let (out, out_rest) = out.as_chunks_mut::<8>();
    for (blocks, out) in full.iter().zip(out) {
        let mut numbers = [0; 8];
        for (number, block) in numbers.iter_mut().zip(blocks) {
            *number = short(block, at);
        }
        *out = bytemuck::cast(_mm256_cvtph_ps(bytemuck::cast::<_, __m128i>(numbers)));
    }
    for (block, out) in rest.iter().zip(out_rest) {
        *out = half(block, at);
    }
}

/// Reads the F16 of a block at `at`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::matmul) fn half(block: &[u8], at: usize) -> f32 {
    let [number, ..]: [f32; 4] = bytemuck::cast(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(short(block, at)))));
    number
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn bytes(stored: &[u8], out: &mut Expanded<'_>) {
    let blocks = stored.as_chunks::<34>().0;
    for (block, codes) in blocks.iter().zip(out.codes.as_chunks_mut::<32>().0) {
        prefetch(block, AHEAD);
        let signed: __m256i = bytemuck::cast(*field::<32>(block, 2));
        *codes = bytemuck::cast(_mm256_xor_si256(signed, _mm256_set1_epi8(-128)));
    }
    halves(blocks, 0, out.scales);
}

/// Expands blocks of `Q4_K`, or of `Q5_K` where there are `FIFTH` bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn large<const BYTES: usize, const FIFTH: bool>(stored: &[u8], out: &mut Expanded<'_>) {
    let blocks = stored.as_chunks::<BYTES>().0.iter().zip(out.codes.as_chunks_mut::<256>().0);
    let scales = out.scales.as_chunks_mut().0.iter_mut().zip(out.biases.as_chunks_mut().0);
    for ((block, codes), (scales, biases)) in blocks.zip(scales) {
        for line in 0..BYTES / 64 {
            prefetch(&block[64 * line..], AHEAD);
        }
        let fifth: __m256i = bytemuck::cast(*field::<32>(block, 16));
        let packed = field::<128>(block, BYTES - 128).as_chunks::<32>().0;
        for (k, (packed, codes)) in packed.iter().zip(codes.as_chunks_mut::<64>().0).enumerate() {
            let packed: __m256i = bytemuck::cast(*packed);
            let mut both = [packed, _mm256_srli_epi16::<4>(packed)];
            for (half, codes) in both.iter_mut().enumerate() {
                *codes = _mm256_and_si256(*codes, _mm256_set1_epi8(15));
                if FIFTH {
                    let bit = _mm256_set1_epi8((1u8 << (2 * k + half)).cast_signed());
                    let set = _mm256_cmpeq_epi8(_mm256_and_si256(fifth, bit), bit);
                    *codes = _mm256_or_si256(*codes, _mm256_and_si256(set, _mm256_set1_epi8(16)));
                }
            }
            *codes = bytemuck::cast(both);
        }
        scales_and_biases(block, scales, biases);
    }
}

/// The scales and biases of a block of `Q4_K` or `Q5_K`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::matmul) fn scales_and_biases(block: &[u8], scales: &mut [f32; 8], biases: &mut [f32; 8]) {
    let [of_scales, of_minima] = six_bit_pairs(*field(block, 4));
    *scales = bytemuck::cast(_mm256_mul_ps(of_scales, _mm256_set1_ps(half(block, 0))));
    let minima = _mm256_mul_ps(of_minima, _mm256_set1_ps(half(block, 2)));
    *biases = bytemuck::cast(_mm256_xor_ps(minima, _mm256_set1_ps(-0.0)));
}

/// The scales and the minima of `Q4_K` and `Q5_K`, as numbers: four bytes at a time.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn six_bit_pairs(packed: [u8; 12]) -> [__m256; 2] {
    let (mut numbers, mut words) = ([_mm256_setzero_ps(); 2], [0u32; 3]);
    for (word, bytes) in words.iter_mut().zip(packed.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    for (i, number) in numbers.iter_mut().enumerate() {
        let (low, nibbles) = (words[i], words[2] >> (4 * i));
        let high = nibbles & 0x0F0F_0F0F | (low >> 6 & 0x0303_0303) << 4;
        let eight = u64::from(low & 0x3F3F_3F3F) | u64::from(high) << 32;
        *number = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_set_epi64x(0, eight.cast_signed())));
    }
    numbers
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn six_bits(stored: &[u8], out: &mut Expanded<'_>) {
    let blocks = stored.as_chunks::<210>().0.iter().zip(out.codes.as_chunks_mut::<256>().0);
    for ((block, codes), scales) in blocks.zip(out.scales.as_chunks_mut::<16>().0) {
        for line in 0..3 {
            prefetch(&block[64 * line..], AHEAD);
        }
        let low = field::<128>(block, 0).as_chunks::<64>().0;
        let parts = low.iter().zip(field::<64>(block, 128).as_chunks::<32>().0);
        for ((low, high), codes) in parts.zip(codes.as_chunks_mut::<128>().0) {
            let [a, b]: [__m256i; 2] = bytemuck::cast(*low);
            let high: __m256i = bytemuck::cast(*high);
            let upper =
                [_mm256_slli_epi16::<4>(high), _mm256_slli_epi16::<2>(high), high, _mm256_srli_epi16::<2>(high)];
            let lower = [a, b, _mm256_srli_epi16::<4>(a), _mm256_srli_epi16::<4>(b)];
            let mut integers = lower;
            for i in 0..4 {
                let upper = _mm256_and_si256(upper[i], _mm256_set1_epi8(0x30));
                integers[i] = _mm256_or_si256(_mm256_and_si256(lower[i], _mm256_set1_epi8(15)), upper);
            }
            *codes = bytemuck::cast(integers);
        }
        let numbers: [[u8; 8]; 2] = bytemuck::cast(*field::<16>(block, 192));
        let d = _mm256_set1_ps(half(block, 208));
        for (numbers, scales) in numbers.iter().zip(scales.as_chunks_mut::<8>().0) {
            let numbers: __m128i = bytemuck::cast([*numbers; 2]);
            *scales = bytemuck::cast(_mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(numbers)), d));
        }
    }
}
