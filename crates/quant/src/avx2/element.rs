//! Moves sixteen elements between memory and two vectors of `f32`.
//!
//! The vectors hold elements in the order that `_mm256_packs_epi32` undoes, since results are packed sooner or later.
//! For BF16, unpacking against zeros widens into the same order:
//!
//! ```text
//! low  = 0  1  2  3 |  8  9 10 11
//! high = 4  5  6  7 | 12 13 14 15
//! ```

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _MM_FROUND_TO_NEAREST_INT, _mm_packus_epi16, _mm256_add_epi32, _mm256_and_si256,
    _mm256_andnot_ps, _mm256_castps_si256, _mm256_castsi128_si256, _mm256_castsi256_ps, _mm256_castsi256_si128,
    _mm256_cvtph_ps, _mm256_cvtps_ph, _mm256_extracti128_si256, _mm256_inserti128_si256, _mm256_packus_epi32,
    _mm256_permute2f128_ps, _mm256_permute4x64_epi64, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_si256,
    _mm256_srli_epi32, _mm256_unpackhi_epi16, _mm256_unpacklo_epi16,
};

use crate::{FloatType, portable::element::Element};

/// Sixteen elements in the order of the module's diagram.
#[derive(Clone, Copy)]
pub(super) struct Sixteen {
    pub(super) low: __m256,
    pub(super) high: __m256,
}

/// Returns the first `N` bytes as a vector.
#[inline]
fn vector<const N: usize, V: bytemuck::Pod>(src: &[u8]) -> V {
    bytemuck::cast::<[u8; N], V>(*src.first_chunk().expect("callers cut pieces of whole vectors"))
}

/// Loads the first 32 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn load_bytes(src: &[u8]) -> __m256i {
    vector::<32, __m256i>(src)
}

/// Loads the first 16 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn load_half(src: &[u8]) -> __m128i {
    vector::<16, __m128i>(src)
}

/// Reads sixteen elements.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn load<T: Element>(src: &[u8]) -> Sixteen {
    match T::FLOAT {
        FloatType::F32 => {
            let (first, second) = (vector::<32, __m256>(src), vector::<32, __m256>(&src[32..]));
            Sixteen {
                low: _mm256_permute2f128_ps::<0x20>(first, second),
                high: _mm256_permute2f128_ps::<0x31>(first, second),
            }
        }
        FloatType::F16 | FloatType::BF16 => widen::<T>(load_bytes(src)),
    }
}

/// Widens sixteen elements of 16 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn widen<T: Element>(halves: __m256i) -> Sixteen {
    if matches!(T::FLOAT, FloatType::F16) {
        let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(halves);
        Sixteen {
            low: _mm256_cvtph_ps(_mm256_castsi256_si128(ordered)),
            high: _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(ordered)),
        }
    } else {
        let zero = _mm256_setzero_si256();
        Sixteen {
            low: _mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, halves)),
            high: _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, halves)),
        }
    }
}

/// Adds the amount whose carry rounds to BF16, ties to even. The upper halves of the result are the rounded numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn carry_to_bf16(values: __m256) -> __m256i {
    let bits = _mm256_castps_si256(values);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd)
}

/// Rounds to the nearest values of type `T`, ties to even. No value may be NaN.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn round<T: Element>(values: __m256) -> __m256 {
    match T::FLOAT {
        FloatType::F32 => values,
        FloatType::F16 => _mm256_cvtph_ps(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values)),
        FloatType::BF16 => {
            let kept = _mm256_set1_epi32(0xFFFF_0000u32.cast_signed());
            _mm256_castsi256_ps(_mm256_and_si256(carry_to_bf16(values), kept))
        }
    }
}

/// Rounds sixteen numbers to `T` and writes them. No number may be NaN.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn store<T: Element>(values: Sixteen, out: &mut [u8]) {
    let Sixteen { low, high } = values;
    match T::FLOAT {
        FloatType::F32 => {
            let first = _mm256_permute2f128_ps::<0x20>(low, high);
            let second = _mm256_permute2f128_ps::<0x31>(low, high);
            write::<64, _>([first, second], out);
        }
        FloatType::F16 | FloatType::BF16 => write::<32, _>(narrow::<T>(values), out),
    }
}

/// Rounds sixteen numbers to a `T` of 16 bits and returns them in their natural order. No number may be NaN.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn narrow<T: Element>(values: Sixteen) -> __m256i {
    let Sixteen { low, high } = values;
    if matches!(T::FLOAT, FloatType::F16) {
        let low = _mm256_castsi128_si256(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(low));
        let both = _mm256_inserti128_si256::<1>(low, _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(high));
        _mm256_permute4x64_epi64::<0b11_01_10_00>(both)
    } else {
        let low = _mm256_srli_epi32::<16>(carry_to_bf16(low));
        let high = _mm256_srli_epi32::<16>(carry_to_bf16(high));
        _mm256_packus_epi32(low, high)
    }
}

/// Rounds eight numbers in their natural order to `T` and writes them. No number may be NaN.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn store8<T: Element>(values: __m256, out: &mut [u8]) {
    match T::FLOAT {
        FloatType::F32 => write::<32, _>(values, out),
        FloatType::F16 => write::<16, _>(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values), out),
        FloatType::BF16 => write::<16, _>(low_halves(_mm256_srli_epi32::<16>(carry_to_bf16(values))), out),
    }
}

/// Narrows eight lanes of 32 bits, each below 2^16, to lanes of 16 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn low_halves(lanes: __m256i) -> __m128i {
    let packed = _mm256_packus_epi32(lanes, lanes);
    _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b11_01_10_00>(packed))
}

/// Writes one or more vectors to the first `N` bytes.
#[inline]
pub(crate) fn write<const N: usize, V: bytemuck::NoUninit>(vector: V, out: &mut [u8]) {
    *out.first_chunk_mut::<N>().expect("callers cut pieces of whole vectors") = bytemuck::cast(vector);
}

/// Writes the low byte of each of eight lanes of 32 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn store_bytes(lanes: __m256i, out: &mut [u8]) {
    let halves = low_halves(_mm256_and_si256(lanes, _mm256_set1_epi32(0xFF)));
    let bytes = bytemuck::cast::<__m128i, [u8; 16]>(_mm_packus_epi16(halves, halves));
    write::<8, _>(*bytes.first_chunk::<8>().expect("the array has sixteen bytes"), out);
}

/// Clears the signs.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn magnitude(values: __m256) -> __m256 {
    _mm256_andnot_ps(_mm256_set1_ps(-0.0), values)
}
