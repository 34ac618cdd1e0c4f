//! Tiles of weights with blocks of sixteen input rows, which are the lanes of a vector.
//!
//! ```text
//! for each group
//!     for 4 codes of 8 rows      load 4 integers of 32 input rows; dot products with the 4 codes, broadcast
//!     for 8 rows                 to f32, scale, add; bias, add
//! ```
//!
//! The rows of a tile lie at a constant distance, so that one register addresses them all. There are no sums across
//! lanes. Bound: dot products, two a cycle, and a fifth as much for the scales of groups of 64.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi32, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_mul_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512, _mm512_slli_epi32,
};

use crate::matmul::fast::{CHAINS, COLUMNS, Form, LaneBlock, ROWS, Sums, Tile};

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn many(form: Form, tile: Tile<'_>, blocks: &[LaneBlock], sums: &mut Sums) {
    if form.codes.is_wide() {
        for (input, sums) in blocks.iter().zip(sums.chunks_exact_mut(ROWS)) {
            for g in 0..tile.columns / tile.group {
                wide(tile, input, g, sums);
            }
        }
        return;
    }
    for (blocks, sums) in blocks.chunks(2).zip(sums.chunks_mut(2 * ROWS)) {
        for g in 0..tile.columns / tile.group {
            match blocks {
                [a, b] => narrow::<2>(tile, [a, b], g, sums),
                [a] => narrow::<1>(tile, [a], g, sums),
                _ => {}
            }
        }
    }
}

/// Adds one group to the sums with `B` blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn narrow<const B: usize>(tile: Tile<'_>, inputs: [&LaneBlock; B], g: usize, sums: &mut Sums) {
    let (quads, group) = (tile.group / 4, tile.first_group + g);
    let codes: &[[[u8; 4]; COLUMNS / 4]; ROWS] = bytemuck::cast_ref(tile.codes);
    let mut totals = [[_mm512_setzero_si512(); B]; ROWS];
    let mut integers: [&[_]; B] = [&[]; B];
    for b in 0..B {
        integers[b] = &inputs[b].high[group * quads..][..quads];
        for totals in &mut totals {
            totals[b] = bytemuck::cast(inputs[b].offsets[group]);
        }
    }
    for i in 0..quads {
        let mut vectors = [_mm512_setzero_si512(); B];
        for b in 0..B {
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
        for r in 0..ROWS {
            scale(tile, r, inputs[b], group, totals[r][b], &mut sums[b * ROWS + r]);
        }
    }
}

/// Adds one group of codes of 8 bits to the sums with a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn wide(tile: Tile<'_>, input: &LaneBlock, g: usize, sums: &mut Sums) {
    let (quads, group) = (tile.group / 4, tile.first_group + g);
    let codes: &[[[u8; 4]; COLUMNS / 4]; ROWS] = bytemuck::cast_ref(tile.codes);
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
        let total = _mm512_add_epi32(_mm512_slli_epi32::<7>(high[r]), low[r]);
        scale(tile, r, input, group, total, &mut sums[r]);
    }
}

/// Adds the sums of one group of one row of weights to its lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn scale(
    tile: Tile<'_>,
    row: usize,
    input: &LaneBlock,
    group: usize,
    total: __m512i,
    lanes: &mut [[f32; CHAINS]; CHAINS],
) {
    let at = row * tile.padded_groups + group;
    let scale = _mm512_mul_ps(_mm512_set1_ps(tile.scales[at]), bytemuck::cast::<_, __m512>(input.scales[group]));
    let lane = &mut lanes[group % CHAINS];
    let mut sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), scale, bytemuck::cast::<_, __m512>(*lane));
    if let Some(bias) = tile.biases.get(at) {
        sum = _mm512_fmadd_ps(_mm512_set1_ps(*bias), bytemuck::cast::<_, __m512>(input.sums[group]), sum);
    }
    *lane = bytemuck::cast(sum);
}
