//! Orthogonal rotations of rows that spread outliers: Q = diag(signs) · (H ⊗ W) / √n, with a Hadamard matrix H of order m
//! and Walsh's matrix W of order 2^k, where n = m · 2^k.

use crate::hadamard::hadamard;

/// A rotation of rows of one size. Equal sizes and seeds give equal rotations.
#[derive(Debug, Clone)]
pub struct Rotation {
    signs: Vec<bool>,
    order: usize,
    matrix: Vec<i8>,
    power: usize,
}

/// No matrix is known for rows of this size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no rotation is known for {size} numbers: expected a power of two times an order that is constructed, found {order} times {power}"
)]
#[non_exhaustive]
pub struct UnknownOrder {
    /// The size.
    pub size: usize,
    /// The odd part of the size.
    pub order: usize,
    /// The power of two.
    pub power: usize,
}

impl Rotation {
    /// Makes the rotation of rows of `size` numbers for a seed. It takes a byte of memory for each number, so that a size from a file has to
    /// be checked before.
    ///
    /// # Errors
    ///
    /// [`UnknownOrder`] if no construction gives a matrix.
    pub fn new(size: usize, seed: u64) -> Result<Self, UnknownOrder> {
        let power = if size == 0 { 1 } else { 1 << size.trailing_zeros() };
        let odd = size / power;
        let mut order = odd;
        let found = std::iter::from_fn(|| {
            let this = order;
            order *= 2;
            (this <= size && this > 0).then_some(this)
        });
        let found = found
            .take_while(|order| *order <= crate::hadamard::MAX_ORDER)
            .find_map(|order| Some((order, hadamard(order)?)));
        let Some((order, matrix)) = found else { return Err(UnknownOrder { size, order: odd, power }) };
        let mut state = seed;
        let signs = (0..size).map(|_| next(&mut state) >> 63 == 1).collect();
        Ok(Self { signs, order, matrix, power: size / order })
    }

    /// The order of the Hadamard matrix, and the power of two that it is multiplied by.
    #[must_use]
    pub fn orders(&self) -> (usize, usize) {
        (self.order, self.power)
    }

    /// Replaces a row x by x · Q.
    ///
    /// # Panics
    ///
    /// Panics if the row has another size.
    pub fn apply(&self, row: &mut [f64], spare: &mut Vec<f64>) {
        self.sign(row);
        row.chunks_exact_mut(self.power).for_each(walsh);
        self.multiply(row, spare, &|from, to| self.matrix[from * self.order + to]);
    }

    /// Replaces a row x by x · Qᵀ, which undoes [`Self::apply`].
    ///
    /// # Panics
    ///
    /// Panics if the row has another size.
    pub fn undo(&self, row: &mut [f64], spare: &mut Vec<f64>) {
        row.chunks_exact_mut(self.power).for_each(walsh);
        self.multiply(row, spare, &|from, to| self.matrix[to * self.order + from]);
        self.sign(row);
    }

    fn sign(&self, row: &mut [f64]) {
        assert_eq!(row.len(), self.signs.len(), "a row of another size");
        for (number, is_negative) in row.iter_mut().zip(&self.signs) {
            if *is_negative {
                *number = -*number;
            }
        }
    }

    /// Multiplies the parts of a row by the matrix, and by 1 / √n.
    fn multiply(&self, row: &mut [f64], spare: &mut Vec<f64>, matrix: &dyn Fn(usize, usize) -> i8) {
        spare.clear();
        spare.resize(row.len(), 0.0);
        for (to, sums) in spare.chunks_exact_mut(self.power).enumerate() {
            for (from, numbers) in row.chunks_exact(self.power).enumerate() {
                let sign = f64::from(matrix(from, to));
                for (sum, number) in sums.iter_mut().zip(numbers) {
                    *sum += sign * number;
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
        let scale = 1.0 / (row.len() as f64).sqrt();
        for (number, sum) in row.iter_mut().zip(spare) {
            *number = *sum * scale;
        }
    }
}

/// Walsh's transform of a power of two of numbers, in their natural order.
fn walsh(numbers: &mut [f64]) {
    let mut half = 1;
    while half < numbers.len() {
        for pair in numbers.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (low, high) in low.iter_mut().zip(high) {
                (*low, *high) = (*low + *high, *low - *high);
            }
        }
        half *= 2;
    }
}

/// The next number of `SplitMix64`.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(size: usize) -> Vec<f64> {
        let mut state = 5;
        #[expect(clippy::cast_precision_loss, reason = "numbers of a test")]
        (0..size).map(|_| (next(&mut state) >> 40) as f64 / f64::from(1 << 23) - 1.0).collect()
    }

    #[test]
    fn rotations_keep_lengths_and_are_undone() {
        for (size, orders) in [(3072, (12, 256)), (5120, (20, 256)), (2880, (180, 16)), (896, (28, 32)), (64, (1, 64))]
        {
            let rotation = Rotation::new(size, 7).expect("the size is known");
            assert_eq!(rotation.orders(), orders, "{size}");
            let (before, mut spare) = (row(size), Vec::new());
            let mut after = before.clone();
            rotation.apply(&mut after, &mut spare);
            let norm = |row: &[f64]| row.iter().map(|number| number * number).sum::<f64>();
            assert!((norm(&after) / norm(&before) - 1.0).abs() < 1e-12, "{size}");
            assert!(after.iter().zip(&before).any(|(after, before)| (after - before).abs() > 0.1), "{size}");
            rotation.undo(&mut after, &mut spare);
            assert!(after.iter().zip(&before).all(|(after, before)| (after - before).abs() < 1e-12), "{size}");
        }
    }

    #[test]
    fn an_outlier_is_spread() {
        let rotation = Rotation::new(576, 1).expect("the size is known");
        let (mut found, mut spare) = (vec![0.0; 576], Vec::new());
        found[17] = 24.0;
        rotation.apply(&mut found, &mut spare);
        assert!(found.iter().all(|number| (number.abs() - 1.0).abs() < 1e-12));
        let other = Rotation::new(576, 2).expect("the size is known");
        assert_ne!(other.signs, rotation.signs);
    }

    #[test]
    fn sizes_without_a_matrix() {
        assert_eq!(Rotation::new(11008, 0).map(|_| ()), Err(UnknownOrder { size: 11008, order: 43, power: 256 }));
        assert!(Rotation::new(0, 0).is_err());
    }
}
