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
    _mm512_shuffle_i32x4, _mm512_shuffle_ps, _mm512_slli_epi32, _mm512_srli_epi16,
};

use super::{AHEAD, expand, prefetch as prefetch_near, prefetch_far};
use crate::{
    FloatType,
    matmul::{
        fast::{CHAINS, Codes, E2M1_INTEGERS, Form, ROWS, Row, Rows},
        weights::Encoded,
    },
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
    // The vectors of sums that sixteen groups have, and the vectors of stored bytes.
    match (form.codes, form.group) {
        (Codes::Nibbles, 128) => run::<NIBBLES, 16, 16, 32>(weights, input, y),
        (Codes::Nibbles, 64) => run::<NIBBLES, 8, 8, 16>(weights, input, y),
        (Codes::Nibbles, _) => run::<NIBBLES, 4, 4, 8>(weights, input, y),
        (Codes::E2m1, 32) => run::<E2M1, 4, 4, 8>(weights, input, y),
        (Codes::E2m1, _) => run::<E2M1, 2, 2, 4>(weights, input, y),
        (Codes::Blocks(_), _) => unreachable!("BUG: blocks are read by kernels of their own"),
        (Codes::Packed(_), 128) => run::<BYTES, 16, 32, 32>(weights, input, y),
        (Codes::Packed(_), 64) => run::<BYTES, 16, 16, 16>(weights, input, y),
        (Codes::Packed(_), _) => run::<BYTES, 8, 8, 8>(weights, input, y),
        (Codes::Bytes, 128) => run::<WIDE_BYTES, 16, 32, 32>(weights, input, y),
        (Codes::Bytes, 64) => run::<WIDE_BYTES, 16, 16, 16>(weights, input, y),
        (Codes::Bytes, _) => run::<WIDE_BYTES, 8, 8, 8>(weights, input, y),
    }
}

/// Computes the numbers where sixteen groups have `VECTORS` vectors of sums, `SIZE` vectors of stored bytes, and `OF_INPUT` of the
/// integers of the input.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn run<const KIND: u8, const VECTORS: usize, const SIZE: usize, const OF_INPUT: usize>(
    weights: Rows<'_>,
    input: Row<'_>,
    y: &mut [f32],
) {
    // What is left of a row behind whole blocks, in quarters of a block.
    match (weights.stored_len % (64 * SIZE)).div_ceil(16 * SIZE) {
        0 => rows::<KIND, VECTORS, SIZE, OF_INPUT, 0>(weights, input, y),
        1 => rows::<KIND, VECTORS, SIZE, OF_INPUT, 1>(weights, input, y),
        2 => rows::<KIND, VECTORS, SIZE, OF_INPUT, 2>(weights, input, y),
        3 => rows::<KIND, VECTORS, SIZE, OF_INPUT, 3>(weights, input, y),
        _ => rows::<KIND, VECTORS, SIZE, OF_INPUT, 4>(weights, input, y),
    }
}

/// The part of an input row that a block of weights meets.
#[derive(Clone, Copy)]
struct Piece<'a, const OF_INPUT: usize> {
    high: &'a [[i8; 64]; OF_INPUT],
    /// As `high`, or the same where there are none.
    low: &'a [[i8; 64]; OF_INPUT],
    scales: &'a [f32; CHAINS],
    sums: &'a [f32; CHAINS],
    offsets: &'a [i32; CHAINS],
}

impl<'a, const OF_INPUT: usize> Piece<'a, OF_INPUT> {
    #[inline]
    fn new<const KIND: u8>(input: &Row<'a>, block: usize) -> Self {
        let high = &input.high.as_chunks().0.as_chunks().0[block];
        Self {
            high,
            low: if KIND == WIDE_BYTES { &input.low.as_chunks().0.as_chunks().0[block] } else { high },
            scales: &input.scales.as_chunks().0[block],
            sums: &input.sums.as_chunks().0[block],
            offsets: &input.offsets.as_chunks().0[block],
        }
    }
}

/// Computes the numbers where a row ends in `QUARTERS` quarters of a block.
///
/// What follows these is read too: the integers of the input are zeros there. Where nothing follows, they are copied.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn rows<const KIND: u8, const VECTORS: usize, const SIZE: usize, const OF_INPUT: usize, const QUARTERS: usize>(
    weights: Rows<'_>,
    input: Row<'_>,
    y: &mut [f32],
) {
    let (float, scales, biases, stride) = if let Some(Encoded { float, scale, bias, .. }) = weights.parts {
        (float, scale, bias, weights.groups * float.size())
    } else {
        let biases = if KIND == E2M1 { weights.scales } else { weights.biases };
        let (scales, biases) = (bytemuck::cast_slice(weights.scales), bytemuck::cast_slice(biases));
        (FloatType::F32, scales, biases, weights.padded_groups * 4)
    };
    // Bytes of the numbers of a block.
    let size = CHAINS * float.size();
    let blocks = weights.stored_len / (64 * SIZE);
    let rest = if QUARTERS > 0 { Some(Piece::<OF_INPUT>::new::<KIND>(&input, blocks)) } else { None };
    let live = if QUARTERS > 0 { u16::MAX >> (CHAINS - (weights.groups - blocks * CHAINS)) } else { 0 };
    let (mut stored, mut scales, mut biases) = (weights.stored, scales, biases);
    for y in y.chunks_mut(ROWS) {
        let mut sums = [_mm512_setzero_ps(); ROWS];
        for sums in &mut sums[..y.len()] {
            let mut lanes = _mm512_setzero_ps();
            let of_blocks = stored.as_chunks::<64>().0.as_chunks::<SIZE>().0;
            let numbers = scales.chunks_exact(size).zip(biases.chunks_exact(size));
            for (block, (stored, numbers)) in of_blocks.iter().zip(numbers).enumerate().take(blocks) {
                let piece = Piece::<OF_INPUT>::new::<KIND>(&input, block);
                lanes = add::<KIND, VECTORS, SIZE, OF_INPUT, 4>(stored, numbers, (float, u16::MAX), piece, lanes);
            }
            if let Some(piece) = rest {
                let count = (SIZE * QUARTERS).div_ceil(4);
                let of_stored = &stored[64 * SIZE * blocks..];
                let (scales, biases) = (&scales[size * blocks..], &biases[size * blocks..]);
                let of_stored = of_stored.as_chunks::<64>().0.get(..count).ok_or(of_stored);
                lanes = match of_stored {
                    Ok(stored) if scales.len() >= size && biases.len() >= size => {
                        add::<KIND, VECTORS, SIZE, OF_INPUT, QUARTERS>(
                            stored,
                            (scales, biases),
                            (float, live),
                            piece,
                            lanes,
                        )
                    }
                    _ => {
                        let stored = &stored[64 * SIZE * blocks..];
                        add_copy::<KIND, VECTORS, SIZE, OF_INPUT>(stored, (scales, biases), (float, live), piece, lanes)
                    }
                };
            }
            *sums = lanes;
            stored = &stored[weights.stored_len..];
            (scales, biases) = (&scales[stride..], &biases[stride..]);
        }
        let totals = totals(&sums);
        match <&mut [f32; ROWS]>::try_from(&mut *y) {
            Ok(y) => *y = totals,
            Err(_) => y.copy_from_slice(&totals[..y.len()]),
        }
    }
}

/// Adds sixteen groups to the lanes, from copies with zeros behind what there is.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn add_copy<const KIND: u8, const VECTORS: usize, const SIZE: usize, const OF_INPUT: usize>(
    stored: &[u8],
    (scales, biases): (&[u8], &[u8]),
    form: (FloatType, u16),
    piece: Piece<'_, OF_INPUT>,
    lanes: __m512,
) -> __m512 {
    let (stored, scales, biases) = (padded::<SIZE>(stored), padded::<1>(scales), padded::<1>(biases));
    let numbers = (scales.as_flattened(), biases.as_flattened());
    add::<KIND, VECTORS, SIZE, OF_INPUT, 4>(&stored, numbers, form, piece, lanes)
}

/// Bytes, with zeros behind them.
fn padded<const SIZE: usize>(stored: &[u8]) -> [[u8; 64]; SIZE] {
    let mut padded = [[0; 64]; SIZE];
    let bytes = padded.as_flattened_mut();
    let len = stored.len().min(bytes.len());
    bytes[..len].copy_from_slice(&stored[..len]);
    padded
}

/// Adds sixteen groups to the lanes, of which only so many quarters are there. The scales and biases that count are
/// those whose bits in `live` are set.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn add<const KIND: u8, const VECTORS: usize, const SIZE: usize, const OF_INPUT: usize, const QUARTERS: usize>(
    stored: &[[u8; 64]],
    (scales, biases): (&[u8], &[u8]),
    (float, live): (FloatType, u16),
    piece: Piece<'_, OF_INPUT>,
    lanes: __m512,
) -> __m512 {
    let mut vectors = [_mm512_setzero_si512(); VECTORS];
    for i in 0..(SIZE * QUARTERS).div_ceil(4) {
        if KIND != BYTES {
            prefetch_far(&stored[i], AHEAD);
            if QUARTERS == 4 {
                prefetch_near(&stored[i], NEAR);
            }
        }
        let per = SIZE / VECTORS;
        vectors[i / per] = dot::<KIND>(vectors[i / per], bytemuck::cast(stored[i]), piece.high, piece.low, i);
    }
    let mut sums = groups::<KIND, VECTORS>(vectors, SIZE / VECTORS);
    if KIND == E2M1 {
        sums = _mm512_add_epi32(sums, bytemuck::cast(*piece.offsets));
    }
    let scales = _mm512_mul_ps(expand::numbers(float, scales, live), bytemuck::cast(*piece.scales));
    let lanes = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), scales, lanes);
    if KIND == E2M1 {
        return lanes;
    }
    _mm512_fmadd_ps(expand::numbers(float, biases, live), bytemuck::cast(*piece.sums), lanes)
}

/// Adds the sums of sixteen groups, whose codes have an offset, to the lanes.
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

/// Sixteen numbers of a row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn at(numbers: &[f32], block: usize) -> __m512 {
    bytemuck::cast(numbers.as_chunks::<CHAINS>().0[block])
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
    let sums = _mm512_add_epi32(sums, _mm512_slli_epi32::<7>(upper));
    _mm512_dpbusd_epi32(sums, stored, bytemuck::cast(low[chunk]))
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
pub(super) fn groups<const KIND: u8, const VECTORS: usize>(of: [__m512i; VECTORS], per: usize) -> __m512i {
    let pairs_of_short = short_pairs(KIND, per);
    match VECTORS {
        2 => {
            // Each quarter has two groups of the first vector, then two of the second.
            let order = _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
            _mm512_permutexvar_epi32(order, neighbours(of[0], of[1], pairs_of_short > 0))
        }
        4 => {
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_permutexvar_epi32(order, quarters([of[0], of[1], of[2], of[3]], pairs_of_short))
        }
        8 => {
            let a = quarters([of[0], of[1], of[2], of[3]], pairs_of_short);
            let b = quarters([of[4], of[5], of[6], of[7]], pairs_of_short);
            // The quarters are those of the first groups of four vectors, then of their second groups.
            let order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
            _mm512_permutexvar_epi32(order, pairs(a, b))
        }
        _ => {
            let a = quarters([of[0], of[1], of[2], of[3]], pairs_of_short);
            let b = quarters([of[4], of[5], of[6], of[7]], pairs_of_short);
            let ab = pairs(a, b);
            let a = quarters([of[8], of[9], of[10], of[11]], pairs_of_short);
            let b = quarters([of[12], of[13], of[14], of[15]], pairs_of_short);
            pairs(ab, pairs(a, b))
        }
    }
}

/// Adds up the quarters of four vectors: each quarter of the result has one sum of each vector, in order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn quarters([a, b, c, d]: [__m512i; 4], short: usize) -> __m512i {
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
