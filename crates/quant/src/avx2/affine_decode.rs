//! Decodes affine groups: code × scale, rounded, plus bias, rounded. [`portable::affine`] says to which type each step
//! is rounded.
//!
//! ```text
//! for 16 codes: to lanes of their own    broadcast, two shuffles, two variable shifts
//!               convert, multiply, add   no fused operation: the product is rounded
//!               round, write
//! ```
//!
//! With codes of 4 bits and 16-bit outputs, the sixteen possible values of a group are computed once and looked up, a
//! byte at a time, by shuffles.
//!
//! Bound: for these look-ups the memory that is written; otherwise rounding to BF16, five instructions per vector,
//! twice. A group whose scale or bias is not finite is left to the portable kernel, so no NaN reaches the rounding.

use std::arch::x86_64::{
    __m256i, _mm_sfence, _mm256_add_ps, _mm256_and_si256, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi16, _mm256_mul_ps,
    _mm256_or_si256, _mm256_packus_epi16, _mm256_permute2x128_si256, _mm256_permute4x64_epi64, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_ps, _mm256_setr_epi32, _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srli_epi16,
    _mm256_unpackhi_epi8, _mm256_unpacklo_epi8,
};

use super::{
    element::{Sixteen, load_half, narrow, round, store, write},
    pack::unpack,
    stream,
};
use crate::{
    FloatType,
    portable::{Params, affine, element::Element},
};

/// The sixteen possible values of a group with 4-bit codes: a table of their low bytes and one of their high bytes,
/// each repeated in both halves of the vector.
#[derive(Clone, Copy)]
struct Table {
    low: __m256i,
    high: __m256i,
}

impl Table {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn new(values: __m256i) -> Self {
        let (low, high) = (_mm256_and_si256(values, _mm256_set1_epi16(0xFF)), _mm256_srli_epi16::<8>(values));
        // Packing a vector with itself leaves each of its halves twice in its own lane.
        Self {
            low: _mm256_permute4x64_epi64::<0b10_00_10_00>(_mm256_packus_epi16(low, low)),
            high: _mm256_permute4x64_epi64::<0b10_00_10_00>(_mm256_packus_epi16(high, high)),
        }
    }

    /// Writes the values of the 32 codes in the first 16 bytes.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn look_up<const ALIGNMENT: usize>(self, packed: &[u8], out: &mut [u8]) {
        // Each byte becomes a word, and its high nibble moves to the word's high byte.
        let words = _mm256_cvtepu8_epi16(load_half(packed));
        let codes = _mm256_or_si256(words, _mm256_slli_epi16::<4>(words));
        let codes = _mm256_and_si256(codes, _mm256_set1_epi8(15));
        let low = _mm256_shuffle_epi8(self.low, codes);
        let high = _mm256_shuffle_epi8(self.high, codes);
        let (even, odd) = (_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high));
        let first = _mm256_permute2x128_si256::<0x20>(even, odd);
        let second = _mm256_permute2x128_si256::<0x31>(even, odd);
        put::<ALIGNMENT>(first, out);
        put::<ALIGNMENT>(second, &mut out[32..]);
    }
}

/// Writes a vector to the first bytes, past the caches where it has an `ALIGNMENT`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn put<const ALIGNMENT: usize>(vector: __m256i, out: &mut [u8]) {
    if ALIGNMENT > 0 { stream::write_256::<ALIGNMENT>(vector, out) } else { write::<32, _>(vector, out) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn decode<S: Element, A: Element, O: Element, const BITS: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    bias: &[u8],
    out: &mut [u8],
) {
    let streams = params.streams && O::SIZE == 2 && matches!(BITS, 4 | 8);
    match if streams { stream::alignment(out) } else { 0 } {
        0 => return groups::<S, A, O, BITS, 0>(params, weight, scale, bias, out),
        16 => groups::<S, A, O, BITS, 16>(params, weight, scale, bias, out),
        _ => groups::<S, A, O, BITS, 32>(params, weight, scale, bias, out),
    }
    _mm_sfence();
}

/// Decodes groups, and writes numbers of 16 bits past the caches where it has an `ALIGNMENT`.
#[target_feature(enable = "avx2,fma,f16c")]
fn groups<S: Element, A: Element, O: Element, const BITS: usize, const ALIGNMENT: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    bias: &[u8],
    out: &mut [u8],
) {
    let group = params.group;
    // `store` rounds to the output's type, which is often the type of the last step.
    let rounded_by_store = A::FLOAT == O::FLOAT || A::FLOAT == FloatType::F32;
    let parts = scale.chunks_exact(S::SIZE).zip(bias.chunks_exact(S::SIZE));
    let parts = parts.zip(weight.chunks_exact(group * BITS / 8));
    for (out, ((stored_scale, stored_bias), packed)) in out.chunks_exact_mut(group * O::SIZE).zip(parts) {
        let (scale, bias) = (S::read_one(stored_scale), S::read_one(stored_bias));
        if !scale.is_finite() || !bias.is_finite() {
            affine::decode::<S, A, O, BITS>(params, packed, stored_scale, stored_bias, out);
            continue;
        }
        stream::prefetch(packed);
        let (scale, bias) = (_mm256_set1_ps(scale), _mm256_set1_ps(bias));
        let value = |codes: __m256i| {
            let product = round::<A>(_mm256_mul_ps(_mm256_cvtepi32_ps(codes), scale));
            let sum = _mm256_add_ps(product, bias);
            if rounded_by_store { sum } else { round::<A>(sum) }
        };
        if BITS == 4 && O::SIZE == 2 {
            // The elements 0 to 15 of `Sixteen` are also the codes 0 to 15.
            let low = value(_mm256_setr_epi32(0, 1, 2, 3, 8, 9, 10, 11));
            let high = value(_mm256_setr_epi32(4, 5, 6, 7, 12, 13, 14, 15));
            let table = Table::new(narrow::<O>(Sixteen { low, high }));
            for (packed, out) in packed.chunks_exact(16).zip(out.chunks_exact_mut(64)) {
                table.look_up::<ALIGNMENT>(packed, out);
            }
            continue;
        }
        for (packed, out) in packed.chunks_exact(2 * BITS).zip(out.chunks_exact_mut(16 * O::SIZE)) {
            let codes = unpack::<BITS>(packed);
            let values = Sixteen { low: value(codes.low), high: value(codes.high) };
            if ALIGNMENT > 0 { put::<ALIGNMENT>(narrow::<O>(values), out) } else { store::<O>(values, out) }
        }
    }
}
