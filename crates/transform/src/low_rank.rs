//! Low-rank factors of a matrix, and what they lose of its outputs.
//!
//! A matrix W `[rows, columns]` becomes U·(Uᵀ·W) with `rank` columns of U. Plain factors take U from the singular vectors of W,
//! weighted ones from those of W·Rᵀ, where Rᵀ·R is the mean of x·xᵀ over the inputs x. Both are eigenvectors of small matrices,
//! W·Wᵀ and W·(Rᵀ·R)·Wᵀ, `[rows, rows]`. The second holds every loss:
//!
//! ```text
//! ‖X·(U·Uᵀ·W − W)ᵀ‖² = Σ uᵀ·(W·Rᵀ·R·Wᵀ)·u      over the columns u that are left out
//! ```
//!
//! Of weighted factors, the terms are the eigenvalues themselves.

use crate::eigen::{dot, symmetric};

/// What factors of a matrix lose: the norm of the error of its outputs over the norm of its outputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// With factors that the matrix alone decides.
    pub plain: f64,
    /// With factors that the inputs decide, too. No factors of this rank lose less.
    pub weighted: f64,
}

/// Computes what factors of rank `rank` lose of `weights`, `[rows, columns]`, whose inputs x have the mean `products` of x·xᵀ,
/// `[columns, columns]`. At full rank nothing is lost.
///
/// The work grows with the cube of `rows`.
///
/// # Panics
///
/// If the lengths of the slices are not those of the shapes.
#[must_use]
pub fn loss(weights: &[f32], columns: usize, products: &[f32], rank: usize) -> Loss {
    if columns == 0 {
        return Loss { plain: 0.0, weighted: 0.0 };
    }
    let rows = weights.len() / columns;
    assert_eq!(weights.len(), rows * columns, "the weights have whole rows");
    assert_eq!(products.len(), columns * columns, "the products are a square matrix");
    let weights: Vec<f64> = weights.iter().map(|value| f64::from(*value)).collect();
    let products: Vec<f64> = products.iter().map(|value| f64::from(*value)).collect();
    let outputs = times_turned(&times(&weights, columns, &products, columns), &weights, columns);
    let plain = symmetric(times_turned(&weights, &weights, columns), rows, true).vectors;
    let weighted = symmetric(outputs.clone(), rows, false).values;
    let total: f64 = (0..rows).map(|row| outputs[row * rows + row]).sum();
    let relative = |lost: f64| if total > 0.0 { (lost.max(0.0) / total).sqrt() } else { 0.0 };
    Loss {
        plain: relative(plain.iter().skip(rank).map(|vector| form(&outputs, vector)).sum()),
        weighted: relative(weighted.iter().skip(rank).sum()),
    }
}

/// A `[rows, inner]` times B `[inner, columns]`.
fn times(a: &[f64], inner: usize, b: &[f64], columns: usize) -> Vec<f64> {
    let mut out = vec![0.0; a.len() / inner.max(1) * columns];
    for (row, out) in a.chunks_exact(inner).zip(out.chunks_exact_mut(columns)) {
        for (factor, line) in row.iter().zip(b.chunks_exact(columns)) {
            out.iter_mut().zip(line).for_each(|(out, value)| *out += factor * value);
        }
    }
    out
}

/// A `[rows, inner]` times the transpose of B `[columns, inner]`.
fn times_turned(a: &[f64], b: &[f64], inner: usize) -> Vec<f64> {
    let rows = a.chunks_exact(inner);
    rows.flat_map(|row| b.chunks_exact(inner).map(|other| dot(row, other))).collect()
}

/// The quadratic form of a matrix.
fn form(matrix: &[f64], vector: &[f64]) -> f64 {
    matrix.chunks_exact(vector.len()).zip(vector).map(|(row, factor)| factor * dot(row, vector)).sum()
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the numbers of a test are small")]
mod tests {
    use super::*;

    /// Numbers of a small generator, between -1 and 1.
    fn numbers(count: usize, mut state: u32) -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 23) - 1.0
        };
        (0..count).map(|_| next() as f32).collect()
    }

    /// Weights `[8, 12]`, and 40 inputs whose channels are ever smaller.
    fn case() -> (Vec<f32>, Vec<f32>) {
        let (weights, inputs) = (numbers(96, 1), numbers(480, 2));
        let inputs: Vec<f32> = inputs.chunks(12).flat_map(|row| (1..).zip(row).map(|(at, x)| x / at as f32)).collect();
        let mut products = vec![0.0_f32; 144];
        for row in inputs.chunks(12) {
            for (at, product) in products.iter_mut().enumerate() {
                *product += row[at / 12] * row[at % 12] / 40.0;
            }
        }
        (weights, products)
    }

    #[test]
    fn losses_are_those_of_singular_vectors() {
        let (weights, products) = case();
        // By numpy's svd of the same numbers.
        for (rank, plain, weighted) in EXPECTED {
            let found = loss(&weights, 12, &products, rank);
            assert!((found.plain - plain).abs() < 1e-5, "rank {rank}: {found:?}, expected {plain}");
            assert!((found.weighted - weighted).abs() < 1e-5, "rank {rank}: {found:?}, expected {weighted}");
        }
    }

    const EXPECTED: [(usize, f64, f64); 4] = [
        (1, 0.884_642_63, 0.681_997_81),
        (2, 0.698_840_53, 0.454_533_25),
        (4, 0.548_978_44, 0.268_624_59),
        (6, 0.209_324_24, 0.092_382_92),
    ];

    #[test]
    fn nothing_is_lost_at_full_rank_and_all_at_none() {
        let (weights, products) = case();
        assert_eq!(loss(&weights, 12, &products, 8), Loss { plain: 0.0, weighted: 0.0 });
        assert_eq!(loss(&weights, 12, &products, 99), Loss { plain: 0.0, weighted: 0.0 });
        let none = loss(&weights, 12, &products, 0);
        assert!((none.plain - 1.0).abs() < 1e-12 && (none.weighted - 1.0).abs() < 1e-12, "{none:?}");
        assert_eq!(loss(&[0.0; 6], 3, &[0.0; 9], 1), Loss { plain: 0.0, weighted: 0.0 });
    }

    #[test]
    fn weighted_factors_lose_least() {
        let (weights, products) = case();
        for rank in 1..8 {
            let Loss { plain, weighted } = loss(&weights, 12, &products, rank);
            assert!(weighted <= plain + 1e-9, "rank {rank}: {weighted} {plain}");
        }
    }
}
