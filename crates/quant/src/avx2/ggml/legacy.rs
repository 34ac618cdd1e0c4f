//! Blocks of 32 or 64 elements. [`legacy`](crate::layout::ggml::legacy) says what they hold.
//!
//! ```text
//! codes to signed bytes   the offset is subtracted here, or the step of the code looked up by a shuffle
//! for 8 bytes: to lanes of their own, convert, multiply, add, write
//! ```

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_or_si128, _mm_set1_epi8, _mm_shuffle_epi8, _mm_sub_epi8, _mm_unpackhi_epi64,
    _mm_unpacklo_epi64, _mm256_and_si256, _mm256_andnot_si256, _mm256_cmpeq_epi8, _mm256_set1_epi8, _mm256_set1_epi32,
    _mm256_set1_epi64x, _mm256_set1_ps, _mm256_setr_epi64x, _mm256_shuffle_epi8, _mm256_xor_ps,
};

use super::lanes::{above, half, halves, load, nibbles, scaled};
use crate::layout::ggml::{
    block::field,
    legacy::STEPS,
    microscaled::{DOUBLED, half_of_e4m3, half_of_e8m0},
};

/// Writes scale × code, sixteen codes at a time.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn all_scaled(codes: [__m128i; 2], scale: __m256, out: &mut [f32; 32]) {
    for (codes, out) in codes.into_iter().zip(out.as_chunks_mut().0) {
        scaled(codes, scale, out);
    }
}

/// Writes scale × code + bias, where `bias` is the F16 of the block at 2.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn all_biased(block: &[u8], codes: [__m128i; 2], out: &mut [f32; 32]) {
    // Subtracting the negated bias is adding it.
    let min = _mm256_xor_ps(half(block, 2), _mm256_set1_ps(-0.0));
    for (codes, out) in codes.into_iter().zip(out.as_chunks_mut().0) {
        above(codes, half(block, 0), min, out);
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let codes = nibbles(*field(block, 2)).map(|codes| _mm_sub_epi8(codes, _mm_set1_epi8(8)));
    all_scaled(codes, half(block, 0), out);
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    all_biased(block, nibbles(*field(block, 4)), out);
}

/// Returns bytes of ones where bits of `bits` are clear, in order.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn clear(bits: [u8; 4]) -> __m256i {
    let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(i32::from_le_bytes(bits)), spread);
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), _mm256_set1_epi8(0))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    // A clear fifth bit leaves a code of 16 less, which as a signed byte has ones above the nibble.
    let above = halves(_mm256_and_si256(clear(*field(block, 2)), _mm256_set1_epi8(0xF0_u8.cast_signed())));
    let [low, high] = nibbles(*field(block, 6));
    all_scaled([_mm_or_si128(low, above[0]), _mm_or_si128(high, above[1])], half(block, 0), out);
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let fifth = halves(_mm256_andnot_si256(clear(*field(block, 4)), _mm256_set1_epi8(16)));
    let [low, high] = nibbles(*field(block, 8));
    all_biased(block, [_mm_or_si128(low, fifth[0]), _mm_or_si128(high, fifth[1])], out);
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    all_scaled([load(*field(block, 2)), load(*field(block, 18))], half(block, 0), out);
}

/// Looks up the value of each code.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn look_up(table: [i8; 16], packed: [u8; 16]) -> [__m128i; 2] {
    let table = bytemuck::cast::<[i8; 16], __m128i>(table);
    nibbles(packed).map(|codes| _mm_shuffle_epi8(table, codes))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    all_scaled(look_up(STEPS, *field(block, 2)), half(block, 0), out);
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    all_scaled(look_up(DOUBLED, *field(block, 1)), _mm256_set1_ps(half_of_e8m0(block[0])), out);
}

/// Two groups at a time: the low nibbles of a group's eight bytes are its first half, the high ones its second.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn nvfp4(block: &[u8; 36], out: &mut [f32; 64]) {
    let pairs = field::<4>(block, 0).as_chunks::<2>().0.iter().zip(field::<32>(block, 4).as_chunks::<16>().0);
    for ((scales, packed), out) in pairs.zip(out.as_chunks_mut::<32>().0) {
        let [low, high] = look_up(DOUBLED, *packed);
        let groups = [_mm_unpacklo_epi64(low, high), _mm_unpackhi_epi64(low, high)];
        for ((codes, scale), out) in groups.into_iter().zip(scales).zip(out.as_chunks_mut().0) {
            scaled(codes, _mm256_set1_ps(half_of_e4m3(*scale)), out);
        }
    }
}
