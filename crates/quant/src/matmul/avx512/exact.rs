//! The exact path: sixteen lanes are one vector.
//!
//! ```text
//! for 4 rows of weights × 6 rows of the input: load 10, fused multiply and add 24
//! ```
//!
//! Bound: the two ports that multiply.

use std::arch::x86_64::{__m512, _mm512_fmadd_ps, _mm512_setzero_ps};

use super::one;
use crate::matmul::{
    exact::{LANES, Lanes, Tile},
    fast::ROWS,
};

/// Columns that are taken at once: those of sixteen rows of weights lie in the first-level cache.
const COLUMNS: usize = 512;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn add(tile: Tile<'_>, lanes: &mut Lanes) {
    for start in (0..tile.columns).step_by(COLUMNS) {
        let columns = COLUMNS.min(tile.columns - start);
        narrow(Tile { weights: &tile.weights[start..], inputs: &tile.inputs[start..], columns, ..tile }, lanes);
    }
}

/// Adds the sixteen lanes of each number.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn totals(lanes: &Lanes, y: &mut [f32]) {
    for (lanes, y) in lanes.chunks(ROWS).zip(y.chunks_mut(ROWS)) {
        let mut sums = [_mm512_setzero_ps(); ROWS];
        for (sums, lanes) in sums.iter_mut().zip(lanes) {
            *sums = bytemuck::cast(*lanes);
        }
        y.copy_from_slice(&one::totals(&sums)[..y.len()]);
    }
}

/// Adds the products of a tile that has few columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn narrow(tile: Tile<'_>, lanes: &mut Lanes) {
    let mut input = 0;
    while input < tile.inputs_rows {
        let inputs = match tile.inputs_rows - input {
            6.. => 6,
            3.. => 3,
            _ => 1,
        };
        let mut row = 0;
        while row < tile.rows {
            let rows = if tile.rows - row >= 4 { 4 } else { 1 };
            match (rows, inputs) {
                (4, 6) => part::<4, 6>(tile, row, input, lanes),
                (4, 3) => part::<4, 3>(tile, row, input, lanes),
                (4, _) => part::<4, 1>(tile, row, input, lanes),
                (_, 6) => part::<1, 6>(tile, row, input, lanes),
                (_, 3) => part::<1, 3>(tile, row, input, lanes),
                _ => part::<1, 1>(tile, row, input, lanes),
            }
            row += rows;
        }
        input += inputs;
    }
}

/// Adds the products of `R` rows of weights with `X` rows of the input.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn part<const R: usize, const X: usize>(tile: Tile<'_>, row: usize, input: usize, lanes: &mut Lanes) {
    let chunks = tile.columns / LANES;
    let mut w: [&[[f32; LANES]]; R] = [&[]; R];
    let mut x: [&[[f32; LANES]]; X] = [&[]; X];
    for (r, w) in w.iter_mut().enumerate() {
        *w = &tile.weights[(row + r) * tile.weights_stride..].as_chunks().0[..chunks];
    }
    for (t, x) in x.iter_mut().enumerate() {
        *x = &tile.inputs[(input + t) * tile.inputs_stride..].as_chunks().0[..chunks];
    }
    let mut sums = [[_mm512_setzero_ps(); R]; X];
    for t in 0..X {
        for r in 0..R {
            sums[t][r] = bytemuck::cast(lanes[(input + t) * tile.rows + row + r]);
        }
    }
    for i in 0..chunks {
        let mut weights = [_mm512_setzero_ps(); R];
        for r in 0..R {
            weights[r] = bytemuck::cast(w[r][i]);
        }
        for t in 0..X {
            let x: __m512 = bytemuck::cast(x[t][i]);
            for r in 0..R {
                sums[t][r] = _mm512_fmadd_ps(weights[r], x, sums[t][r]);
            }
        }
    }
    for t in 0..X {
        for r in 0..R {
            lanes[(input + t) * tile.rows + row + r] = bytemuck::cast(sums[t][r]);
        }
    }
}
