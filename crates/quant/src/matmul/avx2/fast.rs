//! The fast path, once with the multiplications of AVX2 and once with those of AVX-VNNI.
//!
//! One row of weights with one row of an input, 8 groups at a time:
//!
//! ```text
//! for 32 bytes of codes      prefetch, load; nibbles: two masks and a shift; E2M1: two look-ups more
//!     dot products of four   AVX2: products of bytes, added in pairs, then pairs of those, which never overflow
//! sums of the groups         a tree of additions that ends in one vector of 8 sums
//! scales, biases             two fused multiplications for 8 groups
//! ```
//!
//! With a block of sixteen input rows, these are the lanes of two vectors, and codes are broadcast four at a time.

use std::arch::x86_64::{
    __m128, __m128i, __m256, __m256i, _mm_add_ps, _mm_movehl_ps, _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps,
    _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cvtepi32_ps,
    _mm256_dpbusd_avx_epi32, _mm256_fmadd_ps, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps,
    _mm256_permute2x128_si256, _mm256_permutevar8x32_epi32, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setr_epi32, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_shuffle_ps,
    _mm256_slli_epi32, _mm256_srli_epi16, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32,
    _mm256_unpacklo_epi64,
};

use super::{AHEAD, prefetch};
use crate::{
    ggml::GgmlType,
    matmul::{
        exact::quiet,
        fast::{CHAINS, COLUMNS, Codes, E2M1_INTEGERS, Form, LaneBlock, ROWS, Row, Rows, Sums, TOKENS, Tile},
    },
};

/// Conversion of a vector of stored bytes to integers.
const NIBBLES: u8 = 0;
const E2M1: u8 = 1;
const BYTES: u8 = 2;
const WIDE_BYTES: u8 = 3;

/// Groups of a vector of sums.
const GROUPS: usize = 8;

/// Compiles the kernels with `$dot`, which adds dot products of four to sums, and `$dot_twice`, which adds those of two
/// vectors of codes below 64.
macro_rules! kernels {
    ($features:literal, $dot:path, $dot_twice:path) => {
        use super::*;

        #[target_feature(enable = $features)]
        pub(in crate::matmul::avx2) fn one(form: Form, weights: Rows<'_>, input: Row<'_>, y: &mut [f32]) {
            // The vectors that eight groups have, and how many of them belong to one group.
            match (form.codes, form.group) {
                (Codes::Nibbles, 128) => run::<NIBBLES, 8, 2>(weights, input, y),
                (Codes::Nibbles, 64) => run::<NIBBLES, 8, 1>(weights, input, y),
                (Codes::Nibbles, _) => run::<NIBBLES, 4, 1>(weights, input, y),
                (Codes::E2m1, 32) => run::<E2M1, 4, 1>(weights, input, y),
                (Codes::E2m1, _) => run::<E2M1, 2, 1>(weights, input, y),
                (Codes::Blocks(GgmlType::Q8_0), _) => run::<WIDE_BYTES, 8, 1>(weights, input, y),
                (Codes::Blocks(GgmlType::Q6K), _) => run::<BYTES, 4, 1>(weights, input, y),
                (Codes::Blocks(_), _) => run::<BYTES, 8, 1>(weights, input, y),
                (Codes::Packed(_), 128) => run::<BYTES, 8, 4>(weights, input, y),
                (Codes::Packed(_), 64) => run::<BYTES, 8, 2>(weights, input, y),
                (Codes::Packed(_), _) => run::<BYTES, 8, 1>(weights, input, y),
                (Codes::Bytes, 128) => run::<WIDE_BYTES, 8, 4>(weights, input, y),
                (Codes::Bytes, 64) => run::<WIDE_BYTES, 8, 2>(weights, input, y),
                (Codes::Bytes, _) => run::<WIDE_BYTES, 8, 1>(weights, input, y),
            }
        }

        /// Computes the numbers where eight groups have `VECTORS` vectors of sums, each of `PER` times 32 stored bytes.
        #[inline]
        #[target_feature(enable = $features)]
        fn run<const KIND: u8, const VECTORS: usize, const PER: usize>(
            weights: Rows<'_>,
            input: Row<'_>,
            y: &mut [f32],
        ) {
            let scales = weights.scales.chunks_exact(weights.padded_groups);
            let rows = weights.stored.chunks_exact(weights.stored_len).zip(scales);
            for (row, ((stored, scales), y)) in rows.zip(y).enumerate() {
                let biases = weights.biases.get(row * weights.padded_groups..).unwrap_or_default();
                *y = quiet(total(lanes::<KIND, VECTORS, PER>(stored, [scales, biases], input)));
            }
        }

        /// Computes the lanes of one row.
        #[inline]
        #[target_feature(enable = $features)]
        fn lanes<const KIND: u8, const VECTORS: usize, const PER: usize>(
            stored: &[u8],
            [scales, biases]: [&[f32]; 2],
            input: Row<'_>,
        ) -> [__m256; 2] {
            let mut lanes = [_mm256_setzero_ps(); 2];
            for (block, stored) in stored.chunks(VECTORS * PER * 32).enumerate() {
                let mut vectors = [_mm256_setzero_si256(); VECTORS];
                let first = block * VECTORS * PER;
                // A loop of a constant length, so that the vectors stay in registers.
                for i in 0..VECTORS * PER {
                    if let Some(stored) = stored.get(32 * i..) {
                        prefetch(stored, AHEAD);
                        vectors[i / PER] = add::<KIND>(vectors[i / PER], vector(stored), input, first + i);
                    }
                }
                let offsets: __m256i = bytemuck::cast(input.offsets.as_chunks::<GROUPS>().0[block]);
                let sums = _mm256_cvtepi32_ps(_mm256_add_epi32(groups::<VECTORS>(vectors), offsets));
                let scales = _mm256_mul_ps(at(scales, block), at(input.scales, block));
                let lanes = &mut lanes[block % 2];
                *lanes = _mm256_fmadd_ps(sums, scales, *lanes);
                if !biases.is_empty() {
                    *lanes = _mm256_fmadd_ps(at(biases, block), at(input.sums, block), *lanes);
                }
            }
            lanes
        }

        /// Adds the dot products of 32 stored bytes to `sums`.
        #[inline]
        #[target_feature(enable = $features)]
        fn add<const KIND: u8>(sums: __m256i, stored: __m256i, input: Row<'_>, chunk: usize) -> __m256i {
            if KIND == NIBBLES || KIND == E2M1 {
                let mask = _mm256_set1_epi8(15);
                let mut even = _mm256_and_si256(stored, mask);
                let mut odd = _mm256_and_si256(_mm256_srli_epi16::<4>(stored), mask);
                if KIND == E2M1 {
                    let integers = _mm256_broadcastsi128_si256(bytemuck::cast::<[u8; 16], __m128i>(E2M1_INTEGERS));
                    even = _mm256_shuffle_epi8(integers, even);
                    odd = _mm256_shuffle_epi8(integers, odd);
                }
                let at = chunk / 2 * 4 + chunk % 2;
                return $dot_twice(sums, [even, odd], [integers(input.high, at), integers(input.high, at + 2)]);
            }
            if KIND == BYTES {
                return $dot(sums, stored, integers(input.high, chunk));
            }
            let high = $dot(_mm256_setzero_si256(), stored, integers(input.high, chunk));
            _mm256_add_epi32(_mm256_slli_epi32::<7>(high), $dot(sums, stored, integers(input.low, chunk)))
        }

        #[target_feature(enable = $features)]
        pub(in crate::matmul::avx2) fn many(tile: Tile<'_>, blocks: &[LaneBlock], sums: &mut [Sums]) {
            for (input, sums) in blocks.iter().zip(sums) {
                for g in 0..tile.scales.len() {
                    if tile.first_group + g < CHAINS {
                        sums[tile.first_group + g] = [[0.0; TOKENS]; ROWS];
                    }
                    let halves = if input.is_half() { 1 } else { 2 };
                    for half in 0..halves {
                        if tile.form.codes.is_wide() {
                            rows_wide(tile, input, g, half, sums);
                        } else {
                            rows(tile, input, g, half, sums);
                        }
                    }
                }
            }
        }

        /// Adds one group to the sums of half of a block.
        #[inline]
        #[target_feature(enable = $features)]
        fn rows(tile: Tile<'_>, input: &LaneBlock, g: usize, half: usize, sums: &mut Sums) {
            let (pairs, group) = (tile.form.group / 8, tile.first_group + g);
            let codes: &[[[[u8; 4]; 2]; COLUMNS / 8]; ROWS] = bytemuck::cast_ref(tile.codes);
            let mut totals = [bytemuck::cast::<_, [__m256i; 2]>(input.offsets[group])[half]; ROWS];
            let integers = &input.high.as_chunks::<2>().0[group * pairs..][..pairs];
            for (i, integers) in integers.iter().enumerate() {
                let [a, b]: [[__m256i; 2]; 2] = bytemuck::cast(*integers);
                for r in 0..ROWS {
                    let [first, second] = codes[r][g * pairs + i];
                    let codes =
                        [_mm256_set1_epi32(i32::from_le_bytes(first)), _mm256_set1_epi32(i32::from_le_bytes(second))];
                    totals[r] = $dot_twice(totals[r], codes, [a[half], b[half]]);
                }
            }
            scale(tile, input, g, half, totals, sums);
        }

        /// Adds one group of codes of 8 bits to the sums of half of a block.
        #[inline]
        #[target_feature(enable = $features)]
        fn rows_wide(tile: Tile<'_>, input: &LaneBlock, g: usize, half: usize, sums: &mut Sums) {
            let (quads, group) = (tile.form.group / 4, tile.first_group + g);
            let codes: &[[[u8; 4]; COLUMNS / 4]; ROWS] = bytemuck::cast_ref(tile.codes);
            let mut totals = [_mm256_setzero_si256(); ROWS];
            let offsets = bytemuck::cast::<_, [__m256i; 2]>(input.offsets[group])[half];
            let (upper, lower) = (&input.high[group * quads..][..quads], &input.low[group * quads..][..quads]);
            // Four rows at a time, whose sums fit in the registers.
            for first in (0..ROWS).step_by(4) {
                let (mut high, mut low) = ([_mm256_setzero_si256(); 4], [offsets; 4]);
                for i in 0..quads {
                    let upper = bytemuck::cast::<_, [__m256i; 2]>(upper[i])[half];
                    let lower = bytemuck::cast::<_, [__m256i; 2]>(lower[i])[half];
                    for r in 0..4 {
                        let codes = _mm256_set1_epi32(i32::from_le_bytes(codes[first + r][g * quads + i]));
                        high[r] = $dot(high[r], codes, upper);
                        low[r] = $dot(low[r], codes, lower);
                    }
                }
                for r in 0..4 {
                    totals[first + r] = _mm256_add_epi32(_mm256_slli_epi32::<7>(high[r]), low[r]);
                }
            }
            scale(tile, input, g, half, totals, sums);
        }
    };
}

/// With the multiplications of AVX2.
pub(super) mod plain {
    kernels!("avx2,fma,f16c", dot, dot_twice);
}

/// With AVX-VNNI.
pub(super) mod vnni {
    kernels!("avx2,fma,f16c,avxvnni", dot_vnni, dot_twice_vnni);
}

/// Codes × integers: no sum of two products is outside of 16 bits, because codes above 63 only meet integers of at most
/// 64.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot(sums: __m256i, codes: __m256i, integers: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(codes, integers);
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// Codes below 64 × integers, twice: no sum of four products is outside of 16 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_twice(sums: __m256i, codes: [__m256i; 2], integers: [__m256i; 2]) -> __m256i {
    let pairs = _mm256_maddubs_epi16(codes[0], integers[0]);
    let pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes[1], integers[1]));
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn dot_vnni(sums: __m256i, codes: __m256i, integers: __m256i) -> __m256i {
    _mm256_dpbusd_avx_epi32(sums, codes, integers)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn dot_twice_vnni(sums: __m256i, codes: [__m256i; 2], integers: [__m256i; 2]) -> __m256i {
    dot_vnni(dot_vnni(sums, codes[0], integers[0]), codes[1], integers[1])
}

/// Adds the sums of one group to the lanes of all rows, for half of a block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scale(tile: Tile<'_>, input: &LaneBlock, g: usize, half: usize, totals: [__m256i; ROWS], sums: &mut Sums) {
    let group = tile.first_group + g;
    let d = bytemuck::cast::<_, [__m256; 2]>(input.scales[group])[half];
    let of_input = bytemuck::cast::<_, [__m256; 2]>(input.sums[group])[half];
    let (scales, biases) = (&tile.scales[g], tile.biases.get(g));
    let lanes: &mut [[[f32; 8]; TOKENS / 8]; ROWS] = bytemuck::cast_mut(&mut sums[group % CHAINS]);
    for r in 0..ROWS {
        let lane = &mut lanes[r][half];
        let scale = _mm256_mul_ps(_mm256_set1_ps(scales[r]), d);
        let mut sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(totals[r]), scale, bytemuck::cast(*lane));
        if let Some(biases) = biases {
            sum = _mm256_fmadd_ps(_mm256_set1_ps(biases[r]), of_input, sum);
        }
        *lane = bytemuck::cast(sum);
    }
}

/// Adds sixteen lanes, in the order of the exact path.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn total([a, b]: [__m256; 2]) -> f32 {
    let [a, b]: [__m128; 2] = bytemuck::cast(_mm256_add_ps(a, b));
    let four = _mm_add_ps(a, b);
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    let [a, b, ..]: [f32; 4] = bytemuck::cast(two);
    a + b
}

/// Integers of an input row, as a vector.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn integers(of: &[i8], vector: usize) -> __m256i {
    bytemuck::cast(of.as_chunks::<32>().0[vector])
}

/// Eight numbers of a row.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn at(numbers: &[f32], block: usize) -> __m256 {
    bytemuck::cast(numbers.as_chunks::<GROUPS>().0[block])
}

/// At most 32 bytes, and zeros. The number of bytes is a multiple of eight, because a group has that many.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn vector(stored: &[u8]) -> __m256i {
    if let Some(stored) = stored.first_chunk::<32>() {
        return bytemuck::cast(*stored);
    }
    let mut bytes = [[0; 8]; 4];
    for (bytes, stored) in bytes.iter_mut().zip(stored.as_chunks::<8>().0) {
        *bytes = *stored;
    }
    bytemuck::cast(bytes)
}

/// Adds up the groups of `VECTORS` vectors, which together have eight groups. Each vector has its groups in order, of
/// as many lanes as there are vectors.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn groups<const VECTORS: usize>(of: [__m256i; VECTORS]) -> __m256i {
    match VECTORS {
        2 => {
            let (a, b) = (_mm256_castsi256_ps(of[0]), _mm256_castsi256_ps(of[1]));
            let even = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(a, b));
            let odd = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(a, b));
            // Each half has two groups of the first vector, then two of the second.
            _mm256_permutevar8x32_epi32(_mm256_add_epi32(even, odd), _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7))
        }
        4 => {
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            _mm256_permutevar8x32_epi32(halves([of[0], of[1], of[2], of[3]]), order)
        }
        _ => {
            let (a, b) = (halves([of[0], of[1], of[2], of[3]]), halves([of[4], of[5], of[6], of[7]]));
            _mm256_add_epi32(_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b))
        }
    }
}

/// Adds up the halves of four vectors: each half of the result has one sum of each vector, in order.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves([a, b, c, d]: [__m256i; 4]) -> __m256i {
    let ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd))
}
