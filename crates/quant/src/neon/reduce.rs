//! Finds the extremes of eight groups at once.
//!
//! Elements of 16 bits are compared as integers: the bits of a float, with all bits below the sign inverted if the sign
//! is set, have the order of the floats, and infinities and NaN lie at both ends. Elements of 32 bits are compared as
//! floats, where a NaN stays a NaN to the end. The extremes therefore also show whether any element is special. Each
//! group leaves one vector. Pairwise operations halve the number of vectors until the groups are side by side: less
//! than one instruction per group.

use std::arch::aarch64::{
    float32x4_t, int16x8_t, uint16x8_t, uint32x4_t, vabsq_f32, vandq_u16, vcltq_f32, vdupq_n_f32, vdupq_n_s16,
    vdupq_n_u16, veorq_u16, vmaxq_f32, vmaxq_s16, vmaxq_u16, vmaxvq_s16, vmaxvq_u16, vminq_f32, vminq_s16, vminvq_s16,
    vminvq_u32, vpmaxq_f32, vpmaxq_s16, vpmaxq_u16, vpminq_f32, vpminq_s16, vreinterpretq_s16_u16,
    vreinterpretq_u16_s16, vshrq_n_s16, vshrq_n_u16,
};

use super::element::{Eight, read, widen};
use crate::{FloatType, batch::GROUPS, portable::element::Element};

/// Below this magnitude, the kernels' arithmetic neither overflows nor has a subnormal reciprocal.
const LIMIT: f32 = f32::from_bits((127 + 100) << 23);

/// Upper half of [`LIMIT`], or infinity where elements are F16.
const fn limit_of_halves(float: FloatType) -> i16 {
    match float {
        FloatType::F16 => 0x7C00,
        FloatType::BF16 | FloatType::F32 => 0x7180,
    }
}

/// Returns true where all lanes of a comparison are set.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn all(lanes: uint32x4_t) -> bool {
    vminvq_u32(lanes) == u32::MAX
}

/// Returns the least and the greatest element of each of eight groups. Returns `None` unless all elements are finite
/// and below 2^100. The sign of a zero is arbitrary.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn extremes<T: Element, const GROUP: usize>(src: &[u8]) -> Option<(Eight, Eight)> {
    match T::FLOAT {
        FloatType::F32 => extremes_of_words::<GROUP>(src),
        FloatType::F16 | FloatType::BF16 => extremes_of_halves::<T, GROUP>(src),
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn extremes_of_halves<T: Element, const GROUP: usize>(src: &[u8]) -> Option<(Eight, Eight)> {
    let (mut least, mut greatest) = ([vdupq_n_s16(i16::MAX); GROUPS], [vdupq_n_s16(i16::MIN); GROUPS]);
    for ((src, least), greatest) in src.chunks_exact(GROUP * T::SIZE).zip(&mut least).zip(&mut greatest) {
        for src in src.chunks_exact(16) {
            let key = flipped(read::<16, int16x8_t>(src));
            *least = vminq_s16(*least, key);
            *greatest = vmaxq_s16(*greatest, key);
        }
    }
    let least = join(least, |a, b| vpminq_s16(a, b));
    let greatest = join(greatest, |a, b| vpmaxq_s16(a, b));
    let limit = limit_of_halves(T::FLOAT);
    if vminvq_s16(least) < -limit || vmaxvq_s16(greatest) >= limit {
        return None;
    }
    let number = |key| widen::<T>(vreinterpretq_u16_s16(flipped(key)));
    Some((number(least), number(greatest)))
}

/// Inverts the bits below the sign where the sign is set. Applying it twice restores the input.
#[inline]
#[target_feature(enable = "neon")]
fn flipped(halves: int16x8_t) -> int16x8_t {
    let below_sign = vshrq_n_u16::<1>(vreinterpretq_u16_s16(vshrq_n_s16::<15>(halves)));
    vreinterpretq_s16_u16(veorq_u16(vreinterpretq_u16_s16(halves), below_sign))
}

#[inline]
#[target_feature(enable = "neon")]
fn extremes_of_words<const GROUP: usize>(src: &[u8]) -> Option<(Eight, Eight)> {
    let (mut least, mut greatest) = ([vdupq_n_f32(f32::INFINITY); GROUPS], [vdupq_n_f32(f32::NEG_INFINITY); GROUPS]);
    for ((src, least), greatest) in src.chunks_exact(GROUP * 4).zip(&mut least).zip(&mut greatest) {
        for src in src.chunks_exact(16) {
            let values = read::<16, float32x4_t>(src);
            *least = vminq_f32(*least, values);
            *greatest = vmaxq_f32(*greatest, values);
        }
    }
    let least = join_words(least, |a, b| vpminq_f32(a, b));
    let greatest = join_words(greatest, |a, b| vpmaxq_f32(a, b));
    // The comparisons are false for NaN.
    let fits =
        |least, greatest| all(vcltq_f32(vdupq_n_f32(-LIMIT), least)) && all(vcltq_f32(greatest, vdupq_n_f32(LIMIT)));
    (fits(least[0], greatest[0]) && fits(least[1], greatest[1])).then_some((least, greatest))
}

/// Returns the largest magnitude of each of eight groups. Returns `None` unless all elements are finite and below
/// 2^100.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn magnitudes<T: Element, const GROUP: usize>(src: &[u8]) -> Option<Eight> {
    if matches!(T::FLOAT, FloatType::F32) {
        let mut largest = [vdupq_n_f32(0.0); GROUPS];
        for (src, largest) in src.chunks_exact(GROUP * 4).zip(&mut largest) {
            for src in src.chunks_exact(16) {
                *largest = vmaxq_f32(*largest, vabsq_f32(read::<16, float32x4_t>(src)));
            }
        }
        let largest = join_words(largest, |a, b| vpmaxq_f32(a, b));
        let fits = largest.map(|largest| all(vcltq_f32(largest, vdupq_n_f32(LIMIT))));
        return (fits == [true; 2]).then_some(largest);
    }
    let mut largest = [vdupq_n_u16(0); GROUPS];
    for (src, largest) in src.chunks_exact(GROUP * T::SIZE).zip(&mut largest) {
        for src in src.chunks_exact(16) {
            *largest = vmaxq_u16(*largest, vandq_u16(read::<16, uint16x8_t>(src), vdupq_n_u16(0x7FFF)));
        }
    }
    let largest = join(largest, |a, b| vpmaxq_u16(a, b));
    (vmaxvq_u16(largest) < limit_of_halves(T::FLOAT).cast_unsigned()).then(|| widen::<T>(largest))
}

/// Combines the lanes of each of eight vectors until one lane of 16 bits is left, and puts these lanes side by side, in
/// order.
#[inline]
#[target_feature(enable = "neon")]
fn join<V: Copy>(vectors: [V; GROUPS], pairwise: impl Fn(V, V) -> V) -> V {
    let [first, second] = join_words(vectors, &pairwise);
    pairwise(first, second)
}

/// Like [`join`], but for lanes of 32 bits, where one lane is left a step earlier.
#[inline]
#[target_feature(enable = "neon")]
fn join_words<V: Copy>(vectors: [V; GROUPS], pairwise: impl Fn(V, V) -> V) -> [V; 2] {
    let four = |from: usize| {
        let (first, second) =
            (pairwise(vectors[from], vectors[from + 1]), pairwise(vectors[from + 2], vectors[from + 3]));
        pairwise(first, second)
    };
    [four(0), four(4)]
}
