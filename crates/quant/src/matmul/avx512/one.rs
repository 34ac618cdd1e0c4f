//! One row of weights with one row of an input.
//!
//! ```text
//! for 16 groups
//!     for 64 bytes of codes      prefetch, load; nibbles: two masks and a shift; E2M1: two look-ups more
//!         dot products of four   one for each vector of codes, and one more for the lower parts of 14 bits
//!     sums of the groups         a tree of additions that ends in one vector of 16 sums
//!     scales, biases             two fused multiplications for 16 groups
//! ```
//!
//! Bound: the bytes of the codes, from memory as from the third-level cache. Without the prefetch a core reads from
//! memory at three fifths of the speed.

use std::arch::x86_64::{
    __m128i, __m512, __m512i, _CMP_UNORD_Q, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_broadcast_i32x4,
    _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32,
    _mm512_fmadd_ps, _mm512_madd_epi16, _mm512_mask_mov_ps, _mm512_mul_ps, _mm512_packs_epi32, _mm512_permute_ps,
    _mm512_permutexvar_epi32, _mm512_permutexvar_ps, _mm512_set1_epi8, _mm512_set1_epi16, _mm512_set1_ps,
    _mm512_setr_epi32, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_f32x4,
    _mm512_shuffle_i32x4, _mm512_shuffle_ps, _mm512_slli_epi32, _mm512_srli_epi16, _mm512_zextsi256_si512,
};

use super::{AHEAD, expand, prefetch as prefetch_near, prefetch_far};
use crate::{
    FloatType,
    matmul::fast::{CHAINS, Codes, E2M1_INTEGERS, Form, ROWS, Row, Rows},
};

/// Conversion of a vector of stored bytes to integers.
const NIBBLES: u8 = 0;
const E2M1: u8 = 1;
pub(super) const BYTES: u8 = 2;
pub(super) const WIDE_BYTES: u8 = 3;

/// Distance in bytes of what is brought to the first-level cache.
pub(super) const NEAR: usize = 1024;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn one(form: Form, weights: Rows<'_>, input: Row<'_>, y: &mut [f32]) {
    // The vectors that sixteen groups have, and how many of them belong to one group.
    match (form.codes, form.group) {
        (Codes::Nibbles, 128) => run::<NIBBLES, 16, 1>(weights, input, y),
        (Codes::Nibbles, 64) => run::<NIBBLES, 8, 1>(weights, input, y),
        (Codes::Nibbles, _) => run::<NIBBLES, 4, 1>(weights, input, y),
        (Codes::E2m1, 32) => run::<E2M1, 4, 1>(weights, input, y),
        (Codes::E2m1, _) => run::<E2M1, 2, 1>(weights, input, y),
        (Codes::Blocks(_), _) => unreachable!("BUG: blocks are read by kernels of their own"),
        (Codes::Packed(_), 128) => run::<BYTES, 16, 2>(weights, input, y),
        (Codes::Packed(_), 64) => run::<BYTES, 16, 1>(weights, input, y),
        (Codes::Packed(_), _) => run::<BYTES, 8, 1>(weights, input, y),
        (Codes::Bytes, 128) => run::<WIDE_BYTES, 16, 2>(weights, input, y),
        (Codes::Bytes, 64) => run::<WIDE_BYTES, 16, 1>(weights, input, y),
        (Codes::Bytes, _) => run::<WIDE_BYTES, 8, 1>(weights, input, y),
    }
}

/// Computes the numbers where sixteen groups have `VECTORS` vectors of sums, each of `PER` times 64 stored bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn run<const KIND: u8, const VECTORS: usize, const PER: usize>(weights: Rows<'_>, input: Row<'_>, y: &mut [f32]) {
    let mut sums = [_mm512_setzero_ps(); ROWS];
    let rows = weights.stored.chunks_exact(weights.stored_len).zip(&mut sums).enumerate();
    for (row, (stored, sums)) in rows.take(y.len()) {
        let numbers = match weights.parts {
            Some(parts) => {
                let groups = parts.scale.len() / HALF / y.len();
                let from = row * groups * HALF;
                Numbers::Stored { scales: &parts.scale[from..], biases: &parts.bias[from..], groups }
            }
            None => Numbers::Read {
                scales: &weights.scales[row * weights.padded_groups..],
                biases: weights.biases.get(row * weights.padded_groups..).unwrap_or_default(),
            },
        };
        *sums = lanes::<KIND, VECTORS, PER>(stored, numbers, input);
    }
    y.copy_from_slice(&totals(&sums)[..y.len()]);
}

/// Bytes of a BF16.
const HALF: usize = 2;

/// Scales and biases from those of a row on.
#[derive(Clone, Copy)]
enum Numbers<'a> {
    Read {
        scales: &'a [f32],
        biases: &'a [f32],
    },
    /// As BF16, of so many groups.
    Stored {
        scales: &'a [u8],
        biases: &'a [u8],
        groups: usize,
    },
}

impl Numbers<'_> {
    /// The scales of sixteen groups. There are zeros behind the last.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
    fn scales(self, block: usize) -> __m512 {
        match self {
            Self::Read { scales, .. } => at(scales, block),
            Self::Stored { scales, groups, .. } => stored(scales, block, groups),
        }
    }

    /// Likewise the biases, where there are any.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
    fn biases(self, block: usize) -> Option<__m512> {
        match self {
            Self::Read { biases: [], .. } => None,
            Self::Read { biases, .. } => Some(at(biases, block)),
            Self::Stored { biases, groups, .. } => Some(stored(biases, block, groups)),
        }
    }
}

/// Reads sixteen numbers of a row of BF16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn stored(numbers: &[u8], block: usize, groups: usize) -> __m512 {
    let first = block * CHAINS;
    expand::sixteen(FloatType::BF16, &numbers[first * HALF..], (groups - first).min(CHAINS))
}

/// Computes the lanes of one row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn lanes<const KIND: u8, const VECTORS: usize, const PER: usize>(
    stored: &[u8],
    numbers: Numbers<'_>,
    input: Row<'_>,
) -> __m512 {
    // Vectors of stored bytes that sixteen groups have, and of their integers.
    let size = VECTORS * PER;
    let of_input = if KIND == NIBBLES || KIND == E2M1 { 2 * size } else { size };
    let (high, low) = (input.high.as_chunks::<64>().0, input.low.as_chunks::<64>().0);
    let mut lanes = _mm512_setzero_ps();
    let (stored, rest) = stored.as_chunks::<64>();
    let mut blocks = stored.chunks_exact(size);
    let count = blocks.len();
    for (block, stored) in blocks.by_ref().enumerate() {
        let (stored, high) = (&stored[..size], &high[block * of_input..][..of_input]);
        let low = if KIND == WIDE_BYTES { &low[block * size..][..size] } else { low };
        let mut vectors = [_mm512_setzero_si512(); VECTORS];
        for i in 0..size {
            if KIND != BYTES {
                prefetch(&stored[i]);
            }
            vectors[i / PER] = dot::<KIND>(vectors[i / PER], bytemuck::cast(stored[i]), high, low, i);
        }
        let sums = groups::<KIND, VECTORS, PER>(vectors);
        lanes = scale(input, block, lanes, sums, numbers.scales(block), numbers.biases(block));
    }
    let stored = blocks.remainder();
    if !stored.is_empty() || !rest.is_empty() {
        let high = &high[count * of_input..];
        let low = if KIND == WIDE_BYTES { &low[count * size..] } else { low };
        let mut vectors = [_mm512_setzero_si512(); VECTORS];
        for (i, stored) in stored.iter().enumerate() {
            if KIND != BYTES {
                prefetch(stored);
            }
            vectors[i / PER] = dot::<KIND>(vectors[i / PER], bytemuck::cast(*stored), high, low, i);
        }
        if !rest.is_empty() {
            let i = stored.len();
            vectors[i / PER] = dot::<KIND>(vectors[i / PER], tail(rest), high, low, i);
        }
        let sums = groups::<KIND, VECTORS, PER>(vectors);
        lanes = scale(input, count, lanes, sums, numbers.scales(count), numbers.biases(count));
    }
    lanes
}

/// Adds the sums of sixteen groups to the lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn scale(
    input: Row<'_>,
    block: usize,
    lanes: __m512,
    sums: __m512i,
    scales: __m512,
    biases: Option<__m512>,
) -> __m512 {
    let offsets: __m512i = bytemuck::cast(input.offsets.as_chunks::<CHAINS>().0[block]);
    let sums = _mm512_cvtepi32_ps(_mm512_add_epi32(sums, offsets));
    let lanes = _mm512_fmadd_ps(sums, _mm512_mul_ps(scales, at(input.scales, block)), lanes);
    match biases {
        Some(biases) => _mm512_fmadd_ps(biases, at(input.sums, block), lanes),
        None => lanes,
    }
}

/// Adds the sixteen lanes of each row, in the order of the exact path.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn totals(rows: &[__m512; ROWS]) -> [f32; ROWS] {
    let mut pairs = [_mm512_setzero_ps(); ROWS / 2];
    for (i, pair) in pairs.iter_mut().enumerate() {
        // Two quarters of each row, and the other two.
        let [a, b] = [rows[2 * i], rows[2 * i + 1]];
        let (first, second) =
            (_mm512_shuffle_f32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b));
        *pair = _mm512_add_ps(first, second);
    }
    let mut fours = [_mm512_setzero_ps(); 2];
    for (i, four) in fours.iter_mut().enumerate() {
        // A quarter of each of four rows, and the other quarter.
        let [a, b] = [pairs[2 * i], pairs[2 * i + 1]];
        let (first, second) =
            (_mm512_shuffle_f32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b));
        *four = _mm512_add_ps(first, second);
    }
    let [a, b] = fours;
    // Two lanes of a row of `a`, then two of a row of `b`.
    let two = _mm512_add_ps(_mm512_shuffle_ps::<0b01_00_01_00>(a, b), _mm512_shuffle_ps::<0b11_10_11_10>(a, b));
    let one = _mm512_add_ps(two, _mm512_permute_ps::<0b10_11_00_01>(two));
    let order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 4, 8, 12, 2, 6, 10, 14);
    let all = _mm512_permutexvar_ps(order, one);
    let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(all, all);
    let [totals, _]: [[f32; ROWS]; 2] = bytemuck::cast(_mm512_mask_mov_ps(all, is_nan, _mm512_set1_ps(f32::NAN)));
    totals
}

/// Adds the dot products of 64 stored bytes to `sums`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn dot<const KIND: u8>(
    sums: __m512i,
    stored: __m512i,
    high: &[[i8; 64]],
    low: &[[i8; 64]],
    chunk: usize,
) -> __m512i {
    if KIND == NIBBLES || KIND == E2M1 {
        let mask = _mm512_set1_epi8(15);
        let mut even = _mm512_and_si512(stored, mask);
        let mut odd = _mm512_and_si512(_mm512_srli_epi16::<4>(stored), mask);
        if KIND == E2M1 {
            let integers = _mm512_broadcast_i32x4(bytemuck::cast::<[u8; 16], __m128i>(E2M1_INTEGERS));
            even = _mm512_shuffle_epi8(integers, even);
            odd = _mm512_shuffle_epi8(integers, odd);
        }
        let sums = _mm512_dpbusd_epi32(sums, even, bytemuck::cast(high[2 * chunk]));
        return _mm512_dpbusd_epi32(sums, odd, bytemuck::cast(high[2 * chunk + 1]));
    }
    if KIND == BYTES {
        return _mm512_dpbusd_epi32(sums, stored, bytemuck::cast(high[chunk]));
    }
    let upper = _mm512_dpbusd_epi32(_mm512_setzero_si512(), stored, bytemuck::cast(high[chunk]));
    let lower = _mm512_dpbusd_epi32(sums, stored, bytemuck::cast(low[chunk]));
    _mm512_add_epi32(_mm512_slli_epi32::<7>(upper), lower)
}

/// Prefetches what follows a vector of stored bytes: to the second-level cache early, and from there just in time.
#[inline]
fn prefetch(stored: &[u8; 64]) {
    prefetch_far(stored, AHEAD);
    prefetch_near(stored, NEAR);
}

/// Sixteen numbers of a row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn at(numbers: &[f32], block: usize) -> __m512 {
    bytemuck::cast(numbers.as_chunks::<CHAINS>().0[block])
}

/// The first 64 bytes, or fewer and zeros. The number of bytes is a multiple of eight, because a group has that many.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn tail(stored: &[u8]) -> __m512i {
    if let Some(stored) = stored.first_chunk::<64>() {
        return bytemuck::cast(*stored);
    }
    if let Ok(stored) = <[u8; 32]>::try_from(stored) {
        // The usual rest. Bytes that are written in pieces would keep a load of them all waiting.
        return _mm512_zextsi256_si512(bytemuck::cast(stored));
    }
    let mut bytes = [[0; 8]; 8];
    for (bytes, stored) in bytes.iter_mut().zip(stored.as_chunks::<8>().0) {
        *bytes = *stored;
    }
    bytemuck::cast(bytes)
}

/// How often the sums of `per` vectors may be added in pairs as integers of 16 bits. With an input of 8 bits eight
/// products of nibbles are below 2^14, and eight of E2M1 or four of codes below 64 are below 2^15.
const fn short_pairs(kind: u8, per: usize) -> usize {
    match (kind, per) {
        (NIBBLES, 1) => 2,
        (E2M1 | BYTES, 1) => 1,
        _ => 0,
    }
}

/// Adds up the groups of `VECTORS` vectors, which together have sixteen groups. Each vector has its groups in order, of
/// as many lanes as there are vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn groups<const KIND: u8, const VECTORS: usize, const PER: usize>(of: [__m512i; VECTORS]) -> __m512i {
    match VECTORS {
        2 => {
            // Each quarter has two groups of the first vector, then two of the second.
            let order = _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
            _mm512_permutexvar_epi32(order, neighbours(of[0], of[1], short_pairs(KIND, PER) > 0))
        }
        4 => {
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_permutexvar_epi32(order, quarters::<KIND, PER>([of[0], of[1], of[2], of[3]]))
        }
        8 => {
            let a = quarters::<KIND, PER>([of[0], of[1], of[2], of[3]]);
            let b = quarters::<KIND, PER>([of[4], of[5], of[6], of[7]]);
            // The quarters are those of the first groups of four vectors, then of their second groups.
            let order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
            _mm512_permutexvar_epi32(order, pairs(a, b))
        }
        _ => {
            let a = quarters::<KIND, PER>([of[0], of[1], of[2], of[3]]);
            let b = quarters::<KIND, PER>([of[4], of[5], of[6], of[7]]);
            let ab = pairs(a, b);
            let a = quarters::<KIND, PER>([of[8], of[9], of[10], of[11]]);
            let b = quarters::<KIND, PER>([of[12], of[13], of[14], of[15]]);
            pairs(ab, pairs(a, b))
        }
    }
}

/// Adds up the quarters of four vectors: each quarter of the result has one sum of each vector, in order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn quarters<const KIND: u8, const PER: usize>([a, b, c, d]: [__m512i; 4]) -> __m512i {
    let short = short_pairs(KIND, PER);
    neighbours(neighbours(a, b, short > 0), neighbours(c, d, short > 0), short > 1)
}

/// Adds each lane to its neighbour: two sums of each quarter of `a`, then two of `b`. Lanes that are `short` fit in 16
/// bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn neighbours(a: __m512i, b: __m512i, short: bool) -> __m512i {
    if short {
        return _mm512_madd_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16(1));
    }
    let (a, b) = (_mm512_castsi512_ps(a), _mm512_castsi512_ps(b));
    let even = _mm512_castps_si512(_mm512_shuffle_ps::<0b10_00_10_00>(a, b));
    let odd = _mm512_castps_si512(_mm512_shuffle_ps::<0b11_01_11_01>(a, b));
    _mm512_add_epi32(even, odd)
}

/// Adds each second quarter to the one before it: two quarters of `a`, then two of `b`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn pairs(a: __m512i, b: __m512i) -> __m512i {
    let (first, second) = (_mm512_shuffle_i32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b));
    _mm512_add_epi32(first, second)
}
