//! The exact path: sixteen lanes are two vectors, in two passes over a tile, so that the sums stay in registers.
//!
//! ```text
//! for each half of the lanes
//!     for 4 rows of weights × 3 rows of the input: load 7, fused multiply and add 12
//! ```
//!
//! Bound: the loads, seven for twelve of the products that two ports could do in six cycles.

use std::arch::x86_64::{__m256, _mm256_fmadd_ps, _mm256_setzero_ps};

use crate::matmul::exact::{LANES, Lanes, Tile};

/// Columns that are taken at once: those of sixteen rows of weights lie in the first-level cache.
const COLUMNS: usize = 512;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn add(tile: Tile<'_>, lanes: &mut Lanes) {
    for start in (0..tile.columns).step_by(COLUMNS) {
        let columns = COLUMNS.min(tile.columns - start);
        narrow(Tile { weights: &tile.weights[start..], inputs: &tile.inputs[start..], columns, ..tile }, lanes);
    }
}

/// Adds the products of a tile that has few columns.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn narrow(tile: Tile<'_>, lanes: &mut Lanes) {
    let mut input = 0;
    while input < tile.inputs_rows {
        let inputs = if tile.inputs_rows - input >= 3 { 3 } else { 1 };
        let mut row = 0;
        while row < tile.rows {
            let rows = if tile.rows - row >= 4 { 4 } else { 1 };
            match (rows, inputs) {
                (4, 3) => part::<4, 3>(tile, row, input, lanes),
                (4, _) => part::<4, 1>(tile, row, input, lanes),
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
#[target_feature(enable = "avx2,fma,f16c")]
fn part<const R: usize, const X: usize>(tile: Tile<'_>, row: usize, input: usize, lanes: &mut Lanes) {
    let chunks = tile.columns / LANES;
    let mut w: [&[Halves]; R] = [&[]; R];
    let mut x: [&[Halves]; X] = [&[]; X];
    for (r, w) in w.iter_mut().enumerate() {
        *w = &halves(&tile.weights[(row + r) * tile.weights_stride..])[..chunks];
    }
    for (t, x) in x.iter_mut().enumerate() {
        *x = &halves(&tile.inputs[(input + t) * tile.inputs_stride..])[..chunks];
    }
    for half in 0..2 {
        let mut sums = [[_mm256_setzero_ps(); R]; X];
        for t in 0..X {
            for r in 0..R {
                sums[t][r] = bytemuck::cast(lanes[(input + t) * tile.rows + row + r].as_chunks::<8>().0[half]);
            }
        }
        for i in 0..chunks {
            let mut weights = [_mm256_setzero_ps(); R];
            for r in 0..R {
                weights[r] = bytemuck::cast(w[r][i][half]);
            }
            for t in 0..X {
                let x: __m256 = bytemuck::cast(x[t][i][half]);
                for r in 0..R {
                    sums[t][r] = _mm256_fmadd_ps(weights[r], x, sums[t][r]);
                }
            }
        }
        for t in 0..X {
            for r in 0..R {
                let out = &mut lanes[(input + t) * tile.rows + row + r];
                out.as_chunks_mut::<8>().0[half] = bytemuck::cast(sums[t][r]);
            }
        }
    }
}

/// Sixteen numbers as two vectors.
type Halves = [[f32; 8]; 2];

/// Numbers as pairs of vectors.
fn halves(numbers: &[f32]) -> &[Halves] {
    numbers.as_chunks::<8>().0.as_chunks::<2>().0
}
