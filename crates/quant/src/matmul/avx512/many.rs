//! Tiles of weights with blocks of sixteen input rows, which are the lanes of a vector.
//!
//! ```text
//! for each group
//!     for 4 codes of 8 rows      load 4 integers of 32 input rows; dot products with the 4 codes, broadcast
//!     for 8 rows                 to f32, scale, add; bias, add
//! ```
//!
//! The rows of a tile lie at a constant distance, so that one register addresses them all, and so do their scales and
//! their sums. There are no sums across lanes. A block of at most eight input rows takes vectors of half the width.
//! Bound: dot products, two a cycle, and a quarter as much for the scales and biases of groups of 64.

use std::arch::x86_64::{
    __m256, __m256i, __m512, __m512i, _CMP_UNORD_Q, _mm256_add_epi32, _mm256_cvtepi32_ps, _mm256_dpbusd_epi32,
    _mm256_fmadd_ps, _mm256_mul_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_si256, _mm256_slli_epi32,
    _mm512_add_epi32, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_mask_mov_ps, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_shuffle_ps, _mm512_slli_epi32, _mm512_unpackhi_ps, _mm512_unpacklo_ps,
};

use super::prefetch;
use crate::matmul::fast::{CHAINS, COLUMNS, LaneBlock, ROWS, Sums, TOKENS, Tile, Totals};

/// Adds up the chains of a block, each row of weights in a vector of sixteen input rows, and turns these round.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn totals(sums: &Sums) -> Totals {
    let mut rows = [_mm512_setzero_ps(); ROWS];
    for r in 0..ROWS {
        let chain = |c: usize| bytemuck::cast::<_, __m512>(sums[c][r]);
        let pair = |c: usize| _mm512_add_ps(chain(c), chain(c + 8));
        let four = |c: usize| _mm512_add_ps(pair(c), pair(c + 4));
        let total = _mm512_add_ps(_mm512_add_ps(four(0), four(2)), _mm512_add_ps(four(1), four(3)));
        let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(total, total);
        rows[r] = _mm512_mask_mov_ps(total, is_nan, _mm512_set1_ps(f32::NAN));
    }
    let mut totals = [[0.0; ROWS]; TOKENS];
    for half in 0..2 {
        let [a, b, c, d] = [rows[4 * half], rows[4 * half + 1], rows[4 * half + 2], rows[4 * half + 3]];
        let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
        // Each vector has one input row of every four, with four rows of weights.
        let turned = [
            _mm512_shuffle_ps::<0b01_00_01_00>(ab, cd),
            _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd),
            _mm512_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
            _mm512_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
        ];
        for (k, turned) in turned.into_iter().enumerate() {
            let parts: [[f32; 4]; 4] = bytemuck::cast(turned);
            for (lane, part) in parts.into_iter().enumerate() {
                totals[4 * lane + k].as_chunks_mut::<4>().0[half] = part;
            }
        }
    }
    totals
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn many(tile: Tile<'_>, blocks: &[LaneBlock], sums: &mut [Sums]) {
    for (blocks, sums) in blocks.chunks(2).zip(sums.chunks_mut(2)) {
        match (blocks, sums) {
            ([a, b], [to_a, to_b]) if !tile.form.codes.is_wide() => {
                narrow::<2>(tile, [a, b], &mut [to_a, to_b]);
            }
            (blocks, sums) => {
                for (block, sums) in blocks.iter().zip(sums) {
                    match (tile.form.codes.is_wide(), block.is_half()) {
                        (false, false) => narrow::<1>(tile, [block], &mut [sums]),
                        (false, true) => half::<false>(tile, block, sums),
                        (true, false) => wide(tile, block, sums),
                        (true, true) => half::<true>(tile, block, sums),
                    }
                }
            }
        }
    }
}

/// Distance in bytes between the integers in work and those that are prefetched.
const AHEAD: usize = 512;

/// Four codes of the rows of a tile, at each place.
type Quads = [[[u8; 4]; COLUMNS / 4]; ROWS];

/// Adds a tile to the sums of `B` blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn narrow<const B: usize>(tile: Tile<'_>, inputs: [&LaneBlock; B], sums: &mut [&mut Sums; B]) {
    let quads = tile.form.group / 4;
    let codes: &Quads = bytemuck::cast_ref(tile.codes);
    for (g, scales) in tile.scales.iter().enumerate() {
        let group = tile.first_group + g;
        let mut totals = [[_mm512_setzero_si512(); B]; ROWS];
        let mut integers: [&[_]; B] = [&[]; B];
        for b in 0..B {
            integers[b] = &inputs[b].high[group * quads..][..quads];
            let offsets = bytemuck::cast(inputs[b].offsets[group]);
            for totals in &mut totals {
                totals[b] = offsets;
            }
        }
        for i in 0..quads {
            let mut vectors = [_mm512_setzero_si512(); B];
            for b in 0..B {
                // These come from the second-level cache, in their order.
                prefetch(bytemuck::cast_slice(&integers[b][i]), AHEAD);
                vectors[b] = bytemuck::cast::<_, __m512i>(integers[b][i]);
            }
            for r in 0..ROWS {
                let codes = _mm512_set1_epi32(i32::from_le_bytes(codes[r][g * quads + i]));
                for b in 0..B {
                    totals[r][b] = _mm512_dpbusd_epi32(totals[r][b], codes, vectors[b]);
                }
            }
        }
        for b in 0..B {
            let mut of_block = [_mm512_setzero_si512(); ROWS];
            for r in 0..ROWS {
                of_block[r] = totals[r][b];
            }
            scale(scales, tile.biases.get(g), inputs[b], group, &of_block, sums[b]);
        }
    }
}

/// Adds a tile of codes of 8 bits to the sums of a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn wide(tile: Tile<'_>, input: &LaneBlock, sums: &mut Sums) {
    let quads = tile.form.group / 4;
    let codes: &Quads = bytemuck::cast_ref(tile.codes);
    for (g, scales) in tile.scales.iter().enumerate() {
        let group = tile.first_group + g;
        let mut high = [_mm512_setzero_si512(); ROWS];
        let mut low = [bytemuck::cast::<_, __m512i>(input.offsets[group]); ROWS];
        let integers = input.high[group * quads..][..quads].iter().zip(&input.low[group * quads..][..quads]);
        for (i, (upper, lower)) in integers.enumerate() {
            let (upper, lower): (__m512i, __m512i) = (bytemuck::cast(*upper), bytemuck::cast(*lower));
            for r in 0..ROWS {
                let codes = _mm512_set1_epi32(i32::from_le_bytes(codes[r][g * quads + i]));
                high[r] = _mm512_dpbusd_epi32(high[r], codes, upper);
                low[r] = _mm512_dpbusd_epi32(low[r], codes, lower);
            }
        }
        for r in 0..ROWS {
            low[r] = _mm512_add_epi32(_mm512_slli_epi32::<7>(high[r]), low[r]);
        }
        scale(scales, tile.biases.get(g), input, group, &low, sums);
    }
}

/// Adds the sums of one group to the lanes of all rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn scale(
    scales: &[f32; ROWS],
    biases: Option<&[f32; ROWS]>,
    input: &LaneBlock,
    group: usize,
    totals: &[__m512i; ROWS],
    sums: &mut Sums,
) {
    let lanes = &mut sums[group % CHAINS];
    if group < CHAINS {
        *lanes = [[0.0; TOKENS]; ROWS];
    }
    let d: __m512 = bytemuck::cast(input.scales[group]);
    let mut sums = [_mm512_set1_ps(0.0); ROWS];
    for r in 0..ROWS {
        let scale = _mm512_mul_ps(_mm512_set1_ps(scales[r]), d);
        sums[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(totals[r]), scale, bytemuck::cast(lanes[r]));
    }
    if let Some(biases) = biases {
        let of_input: __m512 = bytemuck::cast(input.sums[group]);
        for r in 0..ROWS {
            sums[r] = _mm512_fmadd_ps(_mm512_set1_ps(biases[r]), of_input, sums[r]);
        }
    }
    for r in 0..ROWS {
        lanes[r] = bytemuck::cast(sums[r]);
    }
}

/// Adds a tile to the sums of the first eight rows of a block, with inputs of 14 bits where it is `WIDE`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn half<const WIDE: bool>(tile: Tile<'_>, input: &LaneBlock, sums: &mut Sums) {
    let quads = tile.form.group / 4;
    let codes: &Quads = bytemuck::cast_ref(tile.codes);
    for (g, scales) in tile.scales.iter().enumerate() {
        let group = tile.first_group + g;
        let mut high = [_mm256_setzero_si256(); ROWS];
        let mut low = [first(bytemuck::cast(input.offsets[group])); ROWS];
        let upper = &input.high[group * quads..][..quads];
        let lower = if WIDE { &input.low[group * quads..][..quads] } else { upper };
        for i in 0..quads {
            let (upper, lower) = (first(bytemuck::cast(upper[i])), first(bytemuck::cast(lower[i])));
            for r in 0..ROWS {
                let codes = _mm256_set1_epi32(i32::from_le_bytes(codes[r][g * quads + i]));
                if WIDE {
                    high[r] = _mm256_dpbusd_epi32(high[r], codes, upper);
                }
                low[r] = _mm256_dpbusd_epi32(low[r], codes, lower);
            }
        }
        let d: __m256 = bytemuck::cast(first(bytemuck::cast(input.scales[group])));
        let of_input: __m256 = bytemuck::cast(first(bytemuck::cast(input.sums[group])));
        let lanes = &mut sums[group % CHAINS];
        if group < CHAINS {
            *lanes = [[0.0; TOKENS]; ROWS];
        }
        for r in 0..ROWS {
            let total = if WIDE { _mm256_add_epi32(_mm256_slli_epi32::<7>(high[r]), low[r]) } else { low[r] };
            let lanes = &mut lanes[r].as_chunks_mut::<8>().0[0];
            let scale = _mm256_mul_ps(_mm256_set1_ps(scales[r]), d);
            let mut sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(total), scale, bytemuck::cast(*lanes));
            if let Some(biases) = tile.biases.get(g) {
                sum = _mm256_fmadd_ps(_mm256_set1_ps(biases[r]), of_input, sum);
            }
            *lanes = bytemuck::cast(sum);
        }
    }
}

/// The lanes of the first eight input rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn first([first, _]: [[i32; 8]; 2]) -> __m256i {
    bytemuck::cast(first)
}
