//! Decodes affine groups: code × scale, rounded, plus bias, rounded. [`portable::affine`] says to which type each step
//! is rounded.
//!
//! ```text
//! 8 bits, for 32 codes    to lanes of their own       one shuffle, two conversions
//!                         convert, multiply, add      no fused operation: the product is rounded
//!                         round, write
//! 4 bits, once a group    the sixteen possible values
//!         for 32 codes    a byte to a lane, and its high nibble to the lane's high word; then a look-up
//! ```
//!
//! The look-up takes the low five bits of a word, and the table holds its sixteen values twice, so nothing has to be masked.
//!
//! Bound: the memory that is written; for BF16 from 8 bits, rounding twice, unless the processor converts to that type itself
//! ([`bf16_decode`](super::bf16_decode)). A group whose scale or bias is not
//! finite is left to the portable kernel, so no NaN reaches the rounding.

use std::arch::x86_64::{
    __m256i, __m512, __m512i, _MM_FROUND_TO_NEAREST_INT, _mm_sfence, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_permutevar8x32_epi32, _mm256_setr_epi32, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512,
    _mm512_broadcast_i64x4, _mm512_castps_si512, _mm512_castsi256_si512, _mm512_castsi512_ps, _mm512_cvtepi32_epi16,
    _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtph_ps, _mm512_cvtps_ph, _mm512_inserti64x4, _mm512_mul_ps,
    _mm512_or_si512, _mm512_packus_epi32, _mm512_permutexvar_epi16, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_ps,
    _mm512_slli_epi32, _mm512_srli_epi32,
};

use crate::{
    FloatType,
    avx2::{
        element::{load_bytes, load_half, write},
        stream,
    },
    portable::{Params, affine, element::Element},
};

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
pub(super) fn decode<S: Element, A: Element, O: Element, const BITS: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    bias: &[u8],
    out: &mut [u8],
) {
    match if params.streams { stream::alignment(out) } else { 0 } {
        0 => return groups::<S, A, O, BITS, 0>(params, weight, scale, bias, out),
        64 => groups::<S, A, O, BITS, 64>(params, weight, scale, bias, out),
        _ => groups::<S, A, O, BITS, 16>(params, weight, scale, bias, out),
    }
    _mm_sfence();
}

/// Decodes groups, and writes past the caches where it has an `ALIGNMENT`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
fn groups<S: Element, A: Element, O: Element, const BITS: usize, const ALIGNMENT: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    bias: &[u8],
    out: &mut [u8],
) {
    let group = params.group;
    // Writing rounds to the output's type, which is often the type of the last step.
    let rounded_by_writing = A::FLOAT == O::FLOAT || A::FLOAT == FloatType::F32;
    let parts = scale.chunks_exact(S::SIZE).zip(bias.chunks_exact(S::SIZE));
    let parts = parts.zip(weight.chunks_exact(group * BITS / 8));
    for (out, ((stored_scale, stored_bias), packed)) in out.chunks_exact_mut(group * O::SIZE).zip(parts) {
        let (scale, bias) = (S::read_one(stored_scale), S::read_one(stored_bias));
        if !scale.is_finite() || !bias.is_finite() {
            affine::decode::<S, A, O, BITS>(params, packed, stored_scale, stored_bias, out);
            continue;
        }
        stream::prefetch(packed);
        let (scale, bias) = (_mm512_set1_ps(scale), _mm512_set1_ps(bias));
        let value = |codes: __m512| {
            let sum = _mm512_add_ps(round::<A>(_mm512_mul_ps(codes, scale)), bias);
            if rounded_by_writing { sum } else { round::<A>(sum) }
        };
        if BITS == 4 {
            let table = table::<O>(value(sixteen()));
            for (packed, out) in packed.chunks_exact(16).zip(out.chunks_exact_mut(64)) {
                let lanes = _mm512_cvtepu8_epi32(load_half(packed));
                let codes = _mm512_or_si512(lanes, _mm512_slli_epi32::<12>(lanes));
                put::<ALIGNMENT>(_mm512_permutexvar_epi16(codes, table), out);
            }
            continue;
        }
        for (codes, out) in packed.chunks_exact(32).zip(out.chunks_exact_mut(32 * O::SIZE)) {
            let [first, second] = lanes::<O>(load_bytes(codes));
            store::<O, ALIGNMENT>([value(first), value(second)], out);
        }
    }
}

/// The numbers from 0 to 15.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
fn sixteen() -> __m512 {
    _mm512_setr_ps(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0)
}

/// Rounds sixteen numbers to an `O` of 16 bits, and repeats them in both halves of the vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
fn table<O: Element>(values: __m512) -> __m512i {
    _mm512_broadcast_i64x4(if matches!(O::FLOAT, FloatType::F16) {
        _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values)
    } else {
        _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(carry_to_bf16(values)))
    })
}

/// Converts 32 codes of 8 bits to numbers, in the order that [`store`] takes: for BF16 that which packing restores.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
fn lanes<O: Element>(codes: __m256i) -> [__m512; 2] {
    let codes = match O::FLOAT {
        FloatType::BF16 => _mm256_permutevar8x32_epi32(codes, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7)),
        FloatType::F32 | FloatType::F16 => codes,
    };
    let (first, second) = (_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes));
    [_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(first)), _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(second))]
}

/// Adds the amount whose carry rounds to BF16, ties to even. The upper halves of the result are the rounded numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
fn carry_to_bf16(values: __m512) -> __m512i {
    let bits = _mm512_castps_si512(values);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd)
}

/// Rounds to the nearest values of type `T`, ties to even. No value may be NaN.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
fn round<T: Element>(values: __m512) -> __m512 {
    match T::FLOAT {
        FloatType::F32 => values,
        FloatType::F16 => _mm512_cvtph_ps(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values)),
        FloatType::BF16 => {
            let kept = _mm512_set1_epi32(0xFFFF_0000u32.cast_signed());
            _mm512_castsi512_ps(_mm512_and_si512(carry_to_bf16(values), kept))
        }
    }
}

/// Rounds 32 numbers, in the order of [`lanes`], to `O` and writes them. No number may be NaN.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
fn store<O: Element, const ALIGNMENT: usize>([first, second]: [__m512; 2], out: &mut [u8]) {
    match O::FLOAT {
        FloatType::F32 => {
            put::<ALIGNMENT>(_mm512_castps_si512(first), out);
            put::<ALIGNMENT>(_mm512_castps_si512(second), &mut out[64..]);
        }
        FloatType::F16 => {
            let first = _mm512_castsi256_si512(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(first));
            let second = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(second);
            put::<ALIGNMENT>(_mm512_inserti64x4::<1>(first, second), out);
        }
        FloatType::BF16 => {
            let first = _mm512_srli_epi32::<16>(carry_to_bf16(first));
            let second = _mm512_srli_epi32::<16>(carry_to_bf16(second));
            put::<ALIGNMENT>(_mm512_packus_epi32(first, second), out);
        }
    }
}

/// Writes a vector to the first bytes, past the caches where it has an `ALIGNMENT`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
pub(super) fn put<const ALIGNMENT: usize>(vector: __m512i, out: &mut [u8]) {
    if ALIGNMENT > 0 { stream::write_512::<ALIGNMENT>(vector, out) } else { write::<64, _>(vector, out) }
}
