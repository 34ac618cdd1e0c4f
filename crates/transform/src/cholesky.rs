//! The Cholesky factor of a matrix of inputs' products, by which codes are chosen one column after the other.
//!
//! For a Hessian H, an upper triangle R with H = R·Rᵀ says what an error in one column does to those after it: the loss
//! of quantized rows Q of W is ‖(W − Q)·R‖². It is computed as the ordinary lower factor of H in reverse order:
//!
//! ```text
//! for each block of 32 columns of the lower factor L, from left to right:
//!     rows below −= L[rows, before] · L[block, before]ᵀ          products in panels, rows shared among threads
//!     L[block, block] = the factor of the block                  one thread, in f64
//!     L[rows, block] = rows · L[block, block]⁻ᵀ                  rows shared among threads
//! ```
//!
//! Each number has one order of sums, so that the number of threads does not matter.

use std::num::NonZero;

use crate::{
    product::{Product, WIDTH},
    share::share_rows,
};

/// The factor of a damped Hessian.
#[derive(Debug, Clone)]
pub struct Factor {
    size: usize,
    /// The upper factor in panels of [`WIDTH`] columns, one after the other: of each, the rows down to the diagonal.
    panels: Vec<f32>,
}

/// The lower factor of the reversed matrix, row by row. Above its diagonal lies what was there.
struct Lower {
    size: usize,
    numbers: Vec<f32>,
}

/// Reason why a Hessian has no factor.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FactorError {
    /// The slice is no square matrix of this size.
    #[error("a Hessian of {size} inputs has {found} numbers, expected {size} × {size}")]
    Length {
        /// The number of inputs.
        size: usize,
        /// The number of numbers.
        found: usize,
    },
    /// A number is infinite or NaN, or one on the diagonal is negative.
    #[error("a Hessian has {found} on its diagonal, expected a finite number that is not negative")]
    Diagonal {
        /// The number.
        found: f32,
    },
    /// The matrix is no sum of products of inputs, even with damping.
    #[error("a Hessian is not positive definite: no inputs have it (column {column} of {size})")]
    Indefinite {
        /// The column where this shows.
        column: usize,
        /// The number of inputs.
        size: usize,
    },
}

impl Factor {
    /// Factors a symmetric Hessian of `size` inputs, row by row, in the order of `order`: the factor's column `i` is for input
    /// `order[i]`. `damping` times the mean of the diagonal is added to the diagonal. The Hessian's memory becomes the factor's.
    ///
    /// # Errors
    ///
    /// A [`FactorError`] if the Hessian is none.
    ///
    /// # Panics
    ///
    /// Panics if `order` is no order of `size` inputs.
    pub fn new(
        size: usize,
        hessian: &dyn Fn(usize, &mut [f32]),
        order: &[usize],
        damping: f64,
        threads: NonZero<usize>,
    ) -> Result<Self, FactorError> {
        let mut lower = vec![0.0_f32; size * size];
        let mut row = vec![0.0_f32; size];
        let mut trace = 0.0_f64;
        for (at, lower) in lower.chunks_exact_mut(size.max(1)).enumerate() {
            let input = order[size - 1 - at];
            hessian(input, &mut row);
            let found = row[input];
            if !(found.is_finite() && found >= 0.0) {
                return Err(FactorError::Diagonal { found });
            }
            trace += f64::from(found);
            for (to, number) in lower.iter_mut().enumerate() {
                *number = row[order[size - 1 - to]];
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
        let damping = damping * trace / size.max(1) as f64;
        // An input that is always zero has no products at all, and any code serves it.
        let damping = if damping > 0.0 { damping } else { 1.0 };
        for at in 0..size {
            let diagonal = &mut lower[at * size + at];
            #[expect(clippy::cast_possible_truncation, reason = "the factor is F32")]
            let damped = (f64::from(*diagonal) + damping) as f32;
            *diagonal = damped;
        }
        let mut lower = Lower { size, numbers: lower };
        lower.decompose(threads)?;
        Ok(Self { size, panels: lower.panels() })
    }

    /// The number of inputs.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Number `[from, to]` of the upper factor, where `from` is not after `to`.
    #[inline]
    pub(crate) fn at(&self, from: usize, to: usize) -> f32 {
        self.panels[start(to / WIDTH) + from * WIDTH + to % WIDTH]
    }

    /// The numbers `[k, first + j]` of the upper factor for all `k` below `rows`, [`WIDTH`] for each. `first` is a multiple of [`WIDTH`],
    /// and `rows` is at most `first`.
    pub(crate) fn panel(&self, rows: usize, first: usize) -> &[f32] {
        &self.panels[start(first / WIDTH)..][..rows * WIDTH]
    }
}

/// The place of a panel among all.
fn start(panel: usize) -> usize {
    panel * (panel + 1) / 2 * WIDTH * WIDTH
}

impl Lower {
    /// The upper factor in panels.
    fn panels(self) -> Vec<f32> {
        let size = self.size;
        let count = size.div_ceil(WIDTH);
        let mut panels = vec![0.0; start(count)];
        for panel in 0..count {
            let first = panel * WIDTH;
            let width = WIDTH.min(size - first);
            let out = &mut panels[start(panel)..][..(first + width) * WIDTH];
            for (from, out) in out.chunks_exact_mut(WIDTH).enumerate() {
                let row = &self.numbers[(size - 1 - from) * size..][..size];
                let skipped = from.saturating_sub(first);
                // Row and column were counted from the end.
                let numbers = row[size - first - width..size - first - skipped].iter().rev();
                out[skipped..width].iter_mut().zip(numbers).for_each(|(out, number)| *out = *number);
            }
        }
        panels
    }

    fn decompose(&mut self, threads: NonZero<usize>) -> Result<(), FactorError> {
        let size = self.size;
        let product = Product::default();
        let mut panel = Vec::new();
        for first in (0..size).step_by(WIDTH) {
            let width = WIDTH.min(size - first);
            panel.clear();
            panel.resize(first * WIDTH, 0.0);
            for column in 0..width {
                let row = &self.numbers[(first + column) * size..][..first];
                for (k, number) in row.iter().enumerate() {
                    panel[k * WIDTH + column] = *number;
                }
            }
            let (_, below) = self.numbers.split_at_mut(first * size);
            let (block, rest) = below.split_at_mut(width * size);
            subtract(product, block, size, first, width, &panel);
            let diagonal = factor_block(block, size, first, width)?;
            share_rows(rest, size, threads, &|rows| {
                subtract(product, rows, size, first, width, &panel);
                for row in rows.chunks_exact_mut(size) {
                    solve(&mut row[first..first + width], &diagonal);
                }
            });
        }
        Ok(())
    }
}

/// Subtracts the products of the numbers before `first` from `width` numbers of each row.
fn subtract(product: Product, rows: &mut [f32], size: usize, first: usize, width: usize, panel: &[f32]) {
    /// Rows of one product.
    const AT_ONCE: usize = 32;
    let mut sums = [0.0; AT_ONCE * WIDTH];
    for rows in rows.chunks_mut(AT_ONCE * size) {
        let count = rows.len() / size;
        product.panel(first, count, rows, size, panel, &mut sums);
        for (row, sums) in rows.chunks_exact_mut(size).zip(sums.chunks_exact(WIDTH)) {
            for (number, sum) in row[first..first + width].iter_mut().zip(sums) {
                *number -= sum;
            }
        }
    }
}

/// Factors the block on the diagonal, and returns it, [`WIDTH`] numbers a row.
fn factor_block(
    block: &mut [f32],
    size: usize,
    first: usize,
    width: usize,
) -> Result<[f64; WIDTH * WIDTH], FactorError> {
    let mut found = [0.0; WIDTH * WIDTH];
    for row in 0..width {
        for column in 0..=row {
            let (of_row, of_column) = (&found[row * WIDTH..][..column], &found[column * WIDTH..][..column]);
            let sum: f64 = of_row.iter().zip(of_column).map(|(a, b)| a * b).sum();
            let rest = f64::from(block[row * size + first + column]) - sum;
            found[row * WIDTH + column] = if row == column {
                if !(rest > 0.0 && rest.is_finite()) {
                    return Err(FactorError::Indefinite { column: size - 1 - first - row, size });
                }
                rest.sqrt()
            } else {
                rest / found[column * WIDTH + column]
            };
        }
        for column in 0..=row {
            #[expect(clippy::cast_possible_truncation, reason = "the factor is F32")]
            let number = found[row * WIDTH + column] as f32;
            block[row * size + first + column] = number;
        }
    }
    Ok(found)
}

/// Divides a row by the factor of the block on the diagonal.
fn solve(row: &mut [f32], diagonal: &[f64; WIDTH * WIDTH]) {
    let mut found = [0.0_f64; WIDTH];
    for (column, number) in row.iter_mut().enumerate() {
        let of_column = &diagonal[column * WIDTH..][..=column];
        let sum: f64 = found.iter().zip(&of_column[..column]).map(|(a, b)| a * b).sum();
        found[column] = (f64::from(*number) - sum) / of_column[column];
        #[expect(clippy::cast_possible_truncation, reason = "the factor is F32")]
        let rounded = found[column] as f32;
        *number = rounded;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix of products of `rows` inputs of `size` channels that depend on each other.
    pub(crate) fn hessian(size: usize, rows: usize) -> Vec<f32> {
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 23) - 1.0
        };
        let mut sum = vec![0.0_f64; size * size];
        for _ in 0..rows {
            let shared = next();
            let input: Vec<f64> = (0..size).map(|_| next() + shared).collect();
            for (at, sum) in sum.iter_mut().enumerate() {
                *sum += input[at / size] * input[at % size];
            }
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "numbers of a test")]
        sum.iter().map(|sum| (sum / rows as f64) as f32).collect()
    }

    fn threads(count: usize) -> NonZero<usize> {
        NonZero::new(count).expect("there is one")
    }

    #[test]
    fn the_factor_times_itself_is_the_matrix() {
        for size in [1, 5, 32, 33, 100] {
            let matrix = hessian(size, 3 * size);
            let order: Vec<usize> = (0..size).map(|at| (at * 7 + 3) % size).collect();
            let order = if size % 7 == 0 { (0..size).collect() } else { order };
            let read = |row: usize, out: &mut [f32]| out.copy_from_slice(&matrix[row * size..][..size]);
            let factor = Factor::new(size, &read, &order, 0.01, threads(1)).expect("it is positive definite");
            let mean: f64 = (0..size).map(|at| f64::from(matrix[at * size + at])).sum::<f64>()
                / f64::from(u32::try_from(size).expect("small"));
            for i in 0..size {
                for j in 0..size {
                    let product: f64 =
                        (i.max(j)..size).map(|k| f64::from(factor.at(i, k)) * f64::from(factor.at(j, k))).sum();
                    let damping = if i == j { 0.01 * mean } else { 0.0 };
                    let expected = f64::from(matrix[order[i] * size + order[j]]) + damping;
                    assert!((product - expected).abs() < 1e-5 * mean.max(1.0), "{size}: {i} {j}: {product} {expected}");
                }
            }
            for count in [2, 3, 8] {
                let again = Factor::new(size, &read, &order, 0.01, threads(count)).expect("it was before");
                assert_eq!(again.panels, factor.panels, "{size}, {count} threads");
            }
            let first = (size - 1) / WIDTH * WIDTH;
            let panel = factor.panel(first, first);
            assert_eq!(panel.len(), first * WIDTH);
            assert!(first == 0 || panel[WIDTH].to_bits() == factor.at(1, first).to_bits());
        }
    }

    #[test]
    fn matrices_that_no_inputs_have() {
        let order = [0, 1];
        let new = |matrix: [f32; 4]| {
            let read = move |row: usize, out: &mut [f32]| out.copy_from_slice(&matrix[2 * row..][..2]);
            Factor::new(2, &read, &order, 0.01, threads(1)).map(|_| ())
        };
        assert!(matches!(new([1.0, 2.0, 2.0, 1.0]), Err(FactorError::Indefinite { .. })));
        assert!(matches!(new([f32::NAN, 0.0, 0.0, 1.0]), Err(FactorError::Diagonal { .. })));
        assert!(matches!(new([-1.0, 0.0, 0.0, 1.0]), Err(FactorError::Diagonal { .. })));
        assert!(new([0.0; 4]).is_ok());
        assert!(new([1.0, f32::INFINITY, f32::INFINITY, 1.0]).is_err());
    }
}
