//! Expands codes to a byte each, and reads scales and floats.

use std::arch::x86_64::{
    __m128i, __m256i, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_cvtepu8_epi16, _mm256_cvtph_ps,
    _mm256_mullo_epi16, _mm256_or_si256, _mm256_packus_epi16, _mm256_permute4x64_epi64, _mm256_set1_epi8,
    _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srli_epi16,
};

use crate::{
    FloatType,
    matmul::fast::{Codes, E2M1_INTEGERS, Scales, portable},
    portable as numbers,
};

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn scales(scales: Scales<'_>, out: &mut [f32], biases: &mut [f32]) {
    scales.read(out, biases);
}

/// Reads numbers of type `float`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn floats(float: FloatType, stored: &[u8], out: &mut [f32]) {
    if float != FloatType::F16 {
        return numbers::read(float, stored, out);
    }
    let (stored, stored_rest) = stored.as_chunks::<16>();
    let (out, rest) = out.as_chunks_mut::<8>();
    for (stored, out) in stored.iter().zip(out) {
        *out = bytemuck::cast(_mm256_cvtph_ps(bytemuck::cast::<_, __m128i>(*stored)));
    }
    numbers::read(float, stored_rest, rest);
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn codes(codes: Codes, stored: &[u8], out: &mut [u8]) {
    match codes {
        Codes::Nibbles => nibbles::<false>(codes, stored, out),
        Codes::E2m1 => nibbles::<true>(codes, stored, out),
        Codes::Packed(2) => packed::<2, 16>(codes, stored, out),
        Codes::Packed(3) => packed::<3, 24>(codes, stored, out),
        Codes::Packed(5) => packed::<5, 40>(codes, stored, out),
        Codes::Packed(6) => packed::<6, 48>(codes, stored, out),
        Codes::Packed(_) | Codes::Bytes | Codes::Blocks(_) => portable::expand(codes, stored, out),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles<const E2M1: bool>(codes: Codes, stored: &[u8], out: &mut [u8]) {
    let integers = _mm256_broadcastsi128_si256(bytemuck::cast::<[u8; 16], __m128i>(E2M1_INTEGERS));
    let (stored, stored_rest) = stored.as_chunks::<16>();
    let (out, out_rest) = out.as_chunks_mut::<32>();
    for (stored, out) in stored.iter().zip(out) {
        // Each byte becomes a word, and its upper code moves to the word's upper byte.
        let words = _mm256_cvtepu8_epi16(bytemuck::cast::<_, __m128i>(*stored));
        let codes = _mm256_or_si256(words, _mm256_slli_epi16::<4>(words));
        let codes = _mm256_and_si256(codes, _mm256_set1_epi8(15));
        *out = bytemuck::cast::<__m256i, _>(if E2M1 { _mm256_shuffle_epi8(integers, codes) } else { codes });
    }
    portable::expand(codes, stored_rest, out_rest);
}

/// Expands codes of `BITS` bits, 64 of them in `BYTES` bytes.
///
/// Sixteen codes are words of one vector: a shuffle brings the two bytes of each into its word, and a multiplication
/// shifts it to the word's upper byte.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn packed<const BITS: usize, const BYTES: usize>(codes: Codes, stored: &[u8], out: &mut [u8]) {
    // Sixteen bytes from these places on, which are not beyond the end, have the codes of each quarter.
    let places: [usize; 4] = std::array::from_fn(|quarter| (2 * BITS * quarter).min(BYTES - 16));
    let mut shuffles = [_mm256_set1_epi8(0); 4];
    for (quarter, shuffle) in shuffles.iter_mut().enumerate() {
        let first = 2 * BITS * quarter - places[quarter];
        let mut order = [0x80u8; 32];
        for (i, word) in order.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let at = first + i * BITS / 8;
            word[0] = u8::try_from(at).expect("it is below 16");
            // The byte behind the last is not needed: a code there ends in the byte before.
            word[1] = u8::try_from((at + 1).min(15)).expect("it is below 16");
        }
        *shuffle = bytemuck::cast(order);
    }
    let factors: [u16; 16] = std::array::from_fn(|i| 1 << (8 - i * BITS % 8));
    let (factors, mask) =
        (bytemuck::cast::<_, __m256i>(factors), _mm256_set1_epi8((u8::MAX >> (8 - BITS)).cast_signed()));
    let (stored, stored_rest) = stored.as_chunks::<BYTES>();
    let (out, out_rest) = out.as_chunks_mut::<64>();
    for (stored, out) in stored.iter().zip(out) {
        let mut words = [_mm256_set1_epi8(0); 4];
        for quarter in 0..4 {
            let bytes: [u8; 16] = *stored[places[quarter]..].first_chunk().expect("there are sixteen bytes");
            let both = _mm256_broadcastsi128_si256(bytemuck::cast::<_, __m128i>(bytes));
            let shifted = _mm256_mullo_epi16(_mm256_shuffle_epi8(both, shuffles[quarter]), factors);
            words[quarter] = _mm256_srli_epi16::<8>(shifted);
        }
        for (half, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let packed = _mm256_packus_epi16(words[2 * half], words[2 * half + 1]);
            *out = bytemuck::cast(_mm256_and_si256(_mm256_permute4x64_epi64::<0b11_01_10_00>(packed), mask));
        }
    }
    portable::expand(codes, stored_rest, out_rest);
}
