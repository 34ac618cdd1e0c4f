//! Blocks of 256 elements. [`kquant`](crate::layout::ggml::kquant) says what they hold.
//!
//! Codes become signed bytes, 32 at a time, and are then scaled in the groups that have a scale of their own.

use std::arch::x86_64::{
    __m256, __m256i, _mm256_add_epi8, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_mul_ps, _mm256_or_si256,
    _mm256_set1_epi8, _mm256_set1_ps, _mm256_slli_epi16, _mm256_srli_epi16,
};

use super::lanes::{above, half, halves, load_two, nibbles, numbers, scaled};
use crate::layout::ggml::{block::field, kquant::pairs};

/// Returns the bits of `bytes` that are in `mask` after a shift to the right.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn bits<const SHIFT: i32>(bytes: __m256i, mask: i8) -> __m256i {
    _mm256_and_si256(_mm256_srli_epi16::<SHIFT>(bytes), _mm256_set1_epi8(mask))
}

/// Writes scale × code − min for a group of 32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn group_of_32(codes: __m256i, scale: f32, min: f32, out: &mut [f32; 32]) {
    for (codes, out) in halves(codes).into_iter().zip(out.as_chunks_mut().0) {
        above(codes, _mm256_set1_ps(scale), _mm256_set1_ps(min), out);
    }
}

/// The scales and the minima of the groups of `Q4_K` and `Q5_K`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scales_and_mins(block: &[u8]) -> [[f32; 8]; 2] {
    let pairs = pairs(field(block, 4));
    let product = |bytes: [u8; 8], at| {
        let [bytes, _] = numbers(bytemuck::cast::<[[u8; 8]; 2], _>([bytes; 2]));
        bytemuck::cast::<__m256, [f32; 8]>(_mm256_mul_ps(half(block, at), bytes))
    };
    [product(pairs.map(|[scale, _]| scale), 0), product(pairs.map(|[_, min]| min), 2)]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let [scales, mins] = scales_and_mins(block);
    let out = out.as_chunks_mut::<32>().0;
    for k in 0..4 {
        let packed = load_two(*field(block, 16 + 32 * k));
        group_of_32(bits::<0>(packed, 15), scales[2 * k], mins[2 * k], &mut out[2 * k]);
        group_of_32(bits::<4>(packed, 15), scales[2 * k + 1], mins[2 * k + 1], &mut out[2 * k + 1]);
    }
}

/// Puts bit `group` of each byte above a nibble.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn with_fifth(nibbles: __m256i, fifth: __m256i, group: usize) -> __m256i {
    let bit = _mm256_set1_epi8((1u8 << group).cast_signed());
    let set = _mm256_cmpeq_epi8(_mm256_and_si256(fifth, bit), bit);
    _mm256_or_si256(nibbles, _mm256_and_si256(set, _mm256_set1_epi8(16)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let [scales, mins] = scales_and_mins(block);
    let fifth = load_two(*field(block, 16));
    let out = out.as_chunks_mut::<32>().0;
    for k in 0..4 {
        let packed = load_two(*field(block, 48 + 32 * k));
        let (low, high) = (2 * k, 2 * k + 1);
        let codes = with_fifth(bits::<0>(packed, 15), fifth, low);
        group_of_32(codes, scales[low], mins[low], &mut out[low]);
        let codes = with_fifth(bits::<4>(packed, 15), fifth, high);
        group_of_32(codes, scales[high], mins[high], &mut out[high]);
    }
}

/// Returns the four vectors of two bits each that bytes hold.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn quarters(packed: __m256i) -> [__m256i; 4] {
    [bits::<0>(packed, 3), bits::<2>(packed, 3), bits::<4>(packed, 3), bits::<6>(packed, 3)]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = half(block, 208);
    let scales = numbers(bytemuck::cast::<[u8; 16], _>(*field(block, 192))).map(|scales| _mm256_mul_ps(d, scales));
    let scales = bytemuck::cast::<[__m256; 2], [[f32; 2]; 8]>(scales);
    for (half, out) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let low = [load_two(*field(block, 64 * half)), load_two(*field(block, 64 * half + 32))];
        let low = [bits::<0>(low[0], 15), bits::<0>(low[1], 15), bits::<4>(low[0], 15), bits::<4>(low[1], 15)];
        let high = quarters(load_two(*field(block, 128 + 32 * half)));
        let parts = low.into_iter().zip(high).zip(&scales[4 * half..]);
        for (((low, high), scales), out) in parts.zip(out.as_chunks_mut::<32>().0) {
            let code = _mm256_or_si256(low, _mm256_slli_epi16::<4>(high));
            let code = _mm256_add_epi8(code, _mm256_set1_epi8(-32));
            for ((codes, scale), out) in halves(code).into_iter().zip(scales).zip(out.as_chunks_mut().0) {
                scaled(codes, _mm256_set1_ps(*scale), out);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let [scales, mins] = nibbles(*field(block, 0));
    let product = |numbers_of, at| {
        let d = half(block, at);
        let products = numbers(numbers_of).map(|numbers| _mm256_mul_ps(d, numbers));
        bytemuck::cast::<[__m256; 2], [[f32; 2]; 8]>(products)
    };
    let (scales, mins) = (product(scales, 80), product(mins, 82));
    for (half, out) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let parts = quarters(load_two(*field(block, 16 + 32 * half))).into_iter();
        let parts = parts.zip(&scales[4 * half..]).zip(&mins[4 * half..]);
        for (((codes, scales), mins), out) in parts.zip(out.as_chunks_mut::<32>().0) {
            let parts = halves(codes).into_iter().zip(scales).zip(mins);
            for (((codes, scale), min), out) in parts.zip(out.as_chunks_mut().0) {
                above(codes, _mm256_set1_ps(*scale), _mm256_set1_ps(*min), out);
            }
        }
    }
}
