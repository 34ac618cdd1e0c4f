//! Expands blocks of ggml: codes to a byte each, and the scales and biases of groups.
//!
//! Sixty-four codes are one vector. Nibbles come twice, once shifted; higher bits are added by a mask, or shifted into
//! place. Bound: about six instructions for 64 codes, and two for each scale of a block of 32.

use std::arch::x86_64::{
    __m128i, __m256i, __m512, __m512i, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm256_set_m128i, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_xor_si256, _mm512_and_si512, _mm512_broadcast_i64x4, _mm512_broadcastss_ps,
    _mm512_castsi256_si512, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_inserti64x4,
    _mm512_mask_add_epi8, _mm512_mul_ps, _mm512_or_si512, _mm512_permutexvar_epi64, _mm512_set1_epi8,
    _mm512_setr_epi64, _mm512_sllv_epi16, _mm512_srli_epi16, _mm512_srlv_epi16, _mm512_srlv_epi64,
    _mm512_test_epi8_mask,
};

use super::{AHEAD, prefetch};
use crate::{
    ggml::GgmlType,
    layout::ggml::block::{field, short},
    matmul::{
        avx2::blocks::{half, scales_and_biases},
        fast::{CHAINS, Expanded, expand_blocks},
    },
};

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn expand(ggml_type: GgmlType, stored: &[u8], out: &mut Expanded<'_>) {
    match ggml_type {
        GgmlType::Q4_0 => small::<18, 2, 0>(ggml_type, stored, out),
        GgmlType::Q4_1 => small::<20, 4, 0>(ggml_type, stored, out),
        GgmlType::Q5_0 => small::<22, 6, 2>(ggml_type, stored, out),
        GgmlType::Q5_1 => small::<24, 8, 4>(ggml_type, stored, out),
        GgmlType::Q8_0 => bytes(stored, out),
        GgmlType::Q4K => large::<144, false>(stored, out),
        GgmlType::Q5K => large::<176, true>(stored, out),
        GgmlType::Q6K => six_bits(stored, out),
        _ => expand_blocks(ggml_type, stored, out),
    }
}

/// How nibbles become the codes of a vector.
#[derive(Clone, Copy)]
pub(super) struct Nibbles {
    order: __m512i,
    pair_shifts: __m512i,
    wide_shifts: __m512i,
}

impl Nibbles {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
    pub(super) fn new() -> Self {
        Self {
            order: _mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3),
            pair_shifts: _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4),
            wide_shifts: _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4),
        }
    }

    /// The codes of two blocks of 32.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
    pub(super) fn pair<const BYTES: usize, const CODES: usize, const FIFTH: usize>(
        self,
        first: &[u8; BYTES],
        second: &[u8; BYTES],
    ) -> __m512i {
        let a: __m128i = bytemuck::cast(*field::<16>(first, CODES));
        let b: __m128i = bytemuck::cast(*field::<16>(second, CODES));
        let both = _mm512_castsi256_si512(_mm256_set_m128i(b, a));
        let twice = _mm512_srlv_epi64(_mm512_permutexvar_epi64(self.order, both), self.pair_shifts);
        let integers = _mm512_and_si512(twice, _mm512_set1_epi8(15));
        if FIFTH == 0 {
            return integers;
        }
        let (a, b) = (u32::from_le_bytes(*field(first, FIFTH)), u32::from_le_bytes(*field(second, FIFTH)));
        let fifth = u64::from(a) | u64::from(b) << 32;
        _mm512_mask_add_epi8(integers, fifth, integers, _mm512_set1_epi8(16))
    }

    /// The codes of a quarter of a block of 256, whose fifth bits are the bits 2k and 2k + 1 of `fifth`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
    pub(super) fn wide<const FIFTH: bool>(self, packed: [u8; 32], fifth: __m512i, k: usize) -> __m512i {
        let twice = _mm512_broadcast_i64x4(bytemuck::cast::<_, __m256i>(packed));
        let integers = _mm512_and_si512(_mm512_srlv_epi64(twice, self.wide_shifts), _mm512_set1_epi8(15));
        if !FIFTH {
            return integers;
        }
        let (low, high) = ((1u8 << (2 * k)).cast_signed(), (2u8 << (2 * k)).cast_signed());
        let bits = _mm512_inserti64x4::<1>(_mm512_set1_epi8(low), _mm256_set1_epi8(high));
        let set = _mm512_test_epi8_mask(fifth, bits);
        _mm512_mask_add_epi8(integers, set, integers, _mm512_set1_epi8(16))
    }
}

/// Expands blocks of 32 codes whose nibbles start at `CODES`, and whose fifth bits start at `FIFTH` unless that is 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn small<const BYTES: usize, const CODES: usize, const FIFTH: usize>(
    ggml_type: GgmlType,
    stored: &[u8],
    out: &mut Expanded<'_>,
) {
    let blocks = stored.as_chunks::<BYTES>().0;
    let nibbles = Nibbles::new();
    let (pairs, odd) = blocks.as_chunks::<2>();
    let (codes, odd_codes) = out.codes.as_chunks_mut::<64>();
    for (pair, codes) in pairs.iter().zip(codes) {
        prefetch(&pair[0], AHEAD);
        let integers = nibbles.pair::<BYTES, CODES, FIFTH>(&pair[0], &pair[1]);
        *codes = bytemuck::cast(integers);
    }
    halves(blocks, 0, out.scales);
    if matches!(ggml_type, GgmlType::Q4_1 | GgmlType::Q5_1) {
        halves(blocks, 2, out.biases);
    }
    if let [block] = odd {
        let (mut scale, mut bias) = ([0.0], [0.0]);
        expand_blocks(ggml_type, block, &mut Expanded { codes: odd_codes, scales: &mut scale, biases: &mut bias });
    }
}

/// Reads the F16 at `at` of each block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn halves<const BYTES: usize>(blocks: &[[u8; BYTES]], at: usize, out: &mut [f32]) {
    let (full, rest) = blocks.as_chunks::<CHAINS>();
    let (out, out_rest) = out.as_chunks_mut::<CHAINS>();
    for (blocks, out) in full.iter().zip(out) {
        let mut numbers = [0; CHAINS];
        for (number, block) in numbers.iter_mut().zip(blocks) {
            *number = short(block, at);
        }
        *out = bytemuck::cast(_mm512_cvtph_ps(bytemuck::cast::<_, __m256i>(numbers)));
    }
    for (block, out) in rest.iter().zip(out_rest) {
        *out = half(block, at);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn large<const BYTES: usize, const FIFTH: bool>(stored: &[u8], out: &mut Expanded<'_>) {
    let nibbles = Nibbles::new();
    let scales = out.scales.as_chunks_mut::<8>().0.iter_mut().zip(out.biases.as_chunks_mut::<8>().0);
    for ((block, codes), (scales, biases)) in
        stored.as_chunks::<BYTES>().0.iter().zip(out.codes.as_chunks_mut::<256>().0).zip(scales)
    {
        prefetch(block, AHEAD);
        prefetch(&block[64..], AHEAD);
        let fifth = _mm512_broadcast_i64x4(bytemuck::cast::<[u8; 32], __m256i>(*field(block, 16)));
        let packed = field::<128>(block, BYTES - 128).as_chunks::<32>().0;
        for (k, (packed, codes)) in packed.iter().zip(codes.as_chunks_mut::<64>().0).enumerate() {
            let integers = nibbles.wide::<FIFTH>(*packed, fifth, k);
            *codes = bytemuck::cast(integers);
        }
        scales_and_biases(block, scales, biases);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn six_bits(stored: &[u8], out: &mut Expanded<'_>) {
    let blocks = stored.as_chunks::<210>().0.iter().zip(out.codes.as_chunks_mut::<256>().0);
    for ((block, codes), scales) in blocks.zip(out.scales.as_chunks_mut::<16>().0) {
        for line in 0..3 {
            prefetch(&block[64 * line..], AHEAD);
        }
        *codes = bytemuck::cast(six_bit_integers(block));
        *scales = bytemuck::cast(six_bit_scales(block));
    }
}

/// The codes of a block of `Q6_K`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn six_bit_integers(block: &[u8; 210]) -> [__m512i; 4] {
    let (nibble, bits) = (_mm512_set1_epi8(15), _mm512_set1_epi8(0x30));
    let shifts = |low: i16, high: i16| {
        let (low, high) = (_mm256_set1_epi16(low), _mm256_set1_epi16(high));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    };
    let (up, down) = (shifts(4, 2), shifts(0, 2));
    let mut integers = [nibble; 4];
    for half in 0..2 {
        let low: __m512i = bytemuck::cast(*field::<64>(block, 64 * half));
        let high = _mm512_broadcast_i64x4(bytemuck::cast::<[u8; 32], __m256i>(*field(block, 128 + 32 * half)));
        let upper = _mm512_and_si512(_mm512_sllv_epi16(high, up), bits);
        integers[2 * half] = _mm512_or_si512(_mm512_and_si512(low, nibble), upper);
        let upper = _mm512_and_si512(_mm512_srlv_epi16(high, down), bits);
        integers[2 * half + 1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16::<4>(low), nibble), upper);
    }
    integers
}

/// The scales of a block of `Q6_K`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn six_bit_scales(block: &[u8; 210]) -> __m512 {
    let numbers = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytemuck::cast::<_, __m128i>(*field::<16>(block, 192))));
    _mm512_mul_ps(numbers, _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(short(block, 208))))))
}
