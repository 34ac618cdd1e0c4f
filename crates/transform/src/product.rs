//! Products of two factors, L · R, in blocks: a number of the result has the same bits in a block of any size.
//!
//! The right factor comes in panels of [`WIDTH`] columns. For a panel and some rows of the left factor:
//!
//! ```text
//! for each k, upwards:
//!     for each row i and column j of the block: sum[i][j] = fma(left[i][k], panel[k][j], sum[i][j])
//! ```
//!
//! Each product is added before it is rounded: the fused operation has one result, whether an instruction computes it or, many times
//! slower, a function of a machine without. Sums stay in registers: as many rows at a time as the level's registers hold. With
//! AVX-512, this takes a third of the time of products that are rounded before they are added.

use crate::level::Level;

/// Columns of a panel.
pub const WIDTH: usize = 32;

/// Number of panels for so many columns.
#[must_use]
pub const fn panels(columns: usize) -> usize {
    columns.div_ceil(WIDTH)
}

/// Multiplies rows by panels with the instructions of this machine.
#[derive(Debug, Clone, Copy)]
pub struct Product(Level);

impl Default for Product {
    fn default() -> Self {
        Self(Level::detect())
    }
}

impl Product {
    /// Computes the product of `rows` rows of the left factor with one panel of the right factor: `sums[i × WIDTH + j]`.
    ///
    /// Row `i` of the left factor begins at `left[i × stride]` and has `rank` numbers. The panel has [`WIDTH`] numbers for each of
    /// these. A rank of 0 gives zeros.
    ///
    /// # Panics
    ///
    /// Panics if a slice is too short.
    pub fn panel(self, rank: usize, rows: usize, left: &[f32], stride: usize, panel: &[f32], sums: &mut [f32]) {
        let panel = &panel.as_chunks().0[..rank];
        let sums = &mut sums.as_chunks_mut().0[..rows];
        let left = Rows { values: left, stride, rank };
        match self.0 {
            Level::Base => blocks::<1>(left, panel, sums),
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "functions compiled for instructions that not every machine has")]
            // SAFETY: a level other than the base is only made where the machine was found to have its instructions.
            Level::Avx2 => unsafe { avx2(left, panel, sums) },
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "functions compiled for instructions that not every machine has")]
            // SAFETY: as above.
            Level::Avx512 => unsafe { avx512(left, panel, sums) },
        }
    }
}

/// Rows of the left factor.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a [f32],
    stride: usize,
    rank: usize,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(left: Rows<'_>, panel: &[[f32; WIDTH]], sums: &mut [[f32; WIDTH]]) {
    blocks::<3>(left, panel, sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn avx512(left: Rows<'_>, panel: &[[f32; WIDTH]], sums: &mut [[f32; WIDTH]]) {
    blocks::<8>(left, panel, sums);
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled with the instructions of its caller")]
fn blocks<const ROWS: usize>(left: Rows<'_>, panel: &[[f32; WIDTH]], sums: &mut [[f32; WIDTH]]) {
    let (whole, rest) = sums.as_chunks_mut::<ROWS>();
    let done = whole.len() * ROWS;
    for (at, sums) in whole.iter_mut().enumerate() {
        *sums = block::<ROWS>(left, at * ROWS, panel);
    }
    for (at, sums) in rest.iter_mut().enumerate() {
        [*sums] = block::<1>(left, done + at, panel);
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled with the instructions of its caller")]
fn block<const ROWS: usize>(left: Rows<'_>, first: usize, panel: &[[f32; WIDTH]]) -> [[f32; WIDTH]; ROWS] {
    let rows: [&[f32]; ROWS] =
        std::array::from_fn(|row| &left.values[(first + row) * left.stride..][..left.rank.min(panel.len())]);
    let mut sums = [[0.0; WIDTH]; ROWS];
    for (k, right) in panel.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(rows) {
            let factor = row[k];
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = factor.mul_add(*right, *sum);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from(u16::try_from(state >> 16).expect("sixteen bits")) / 32_768.0 - 1.0
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    #[test]
    fn every_level_adds_in_the_same_order() {
        for (rank, rows) in [(0, 2), (1, 1), (5, 3), (17, 8), (64, 19), (7, 41)] {
            let stride = rank + 3;
            let (left, panel) = (numbers(rows * stride, 1), numbers(rank * WIDTH, 2));
            let mut expected = vec![0.0_f32; rows * WIDTH];
            for (at, sum) in expected.iter_mut().enumerate() {
                for k in 0..rank {
                    *sum = left[at / WIDTH * stride + k].mul_add(panel[k * WIDTH + at % WIDTH], *sum);
                }
            }
            for level in Level::all() {
                let mut sums = vec![9.0; rows * WIDTH];
                Product(level).panel(rank, rows, &left, stride, &panel, &mut sums);
                assert_eq!(sums, expected, "{level:?} {rank} {rows}");
            }
        }
    }
}
