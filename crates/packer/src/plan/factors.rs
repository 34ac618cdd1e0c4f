//! Factors that the columns and rows of a planned tensor are multiplied by.

use std::sync::Arc;

use longshore_st_format::Shape;

/// Factors of one tensor. Those of its columns belong to what it is multiplied with, those of its rows to what it makes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Factors {
    /// `[columns]`, or `[matrices, columns]`.
    pub(crate) columns: Option<Arc<[f32]>>,
    /// `[rows]`, or `[matrices, rows]`.
    pub(crate) rows: Option<Arc<[f32]>>,
    /// Number that a model adds to each value before it uses it: 1 for the gain of a norm that is stored as its distance from 1.
    pub(crate) added: f32,
}

impl Factors {
    /// Multiplies values of the tensor, from element `at` on. Its matrices have `rows` by `columns` elements.
    pub(crate) fn apply(&self, at: u64, [rows, columns]: [usize; 2], values: &mut [f32]) {
        let (mut at, mut rest) = (at, values);
        while !rest.is_empty() && columns > 0 {
            let (row, column) = (at / columns as u64, within(at, columns));
            let (part, after) = rest.split_at_mut((columns - column).min(rest.len()));
            let of_row = self.rows.as_ref().map_or(1.0, |factors| factors[within(row, factors.len())]);
            match self.of_matrix(row / rows.max(1) as u64, columns) {
                Some(factors) => {
                    let factors = &factors[column..column + part.len()];
                    part.iter_mut().zip(factors).for_each(|(value, factor)| self.multiply(value, factor * of_row));
                }
                None => part.iter_mut().for_each(|value| self.multiply(value, of_row)),
            }
            at += part.len() as u64;
            rest = after;
        }
    }

    fn multiply(&self, value: &mut f32, factor: f32) {
        *value = (*value + self.added) * factor - self.added;
    }

    /// The factors of the columns of one matrix, if there are any.
    pub(crate) fn of_matrix(&self, matrix: u64, columns: usize) -> Option<&[f32]> {
        let factors = self.columns.as_ref()?;
        let at = within(matrix, factors.len() / columns.max(1)) * columns;
        factors.get(at..at + columns)
    }

    /// Whether the factors have one number for each row and column of a tensor of this shape, or of each of its matrices.
    pub(crate) fn fits(&self, shape: &Shape) -> bool {
        let (matrices, rows, columns) = match shape.dims() {
            [outer @ .., rows, columns] => (outer.iter().product(), *rows, *columns),
            [columns] => (1, 1, *columns),
            [] => (1, 1, 1),
        };
        let fits = |factors: &Option<Arc<[f32]>>, each: u64| {
            let of = |factors: &Arc<[f32]>| [each, each.saturating_mul(matrices)].contains(&(factors.len() as u64));
            factors.as_ref().is_none_or(of)
        };
        fits(&self.rows, rows) && fits(&self.columns, columns)
    }
}

/// The place of a number within a run of `len` numbers that repeats.
fn within(number: u64, len: usize) -> usize {
    usize::try_from(number % len.max(1) as u64).expect("it is below a length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(columns: &[f32], rows: &[f32], added: f32) -> Factors {
        let some = |factors: &[f32]| (!factors.is_empty()).then(|| factors.into());
        Factors { columns: some(columns), rows: some(rows), added }
    }

    /// Applies factors to ones of a shape, in parts of a length.
    fn applied(factors: &Factors, shape: [usize; 3], part: usize) -> Vec<f32> {
        let [matrices, rows, columns] = shape;
        let mut values = vec![1.0; matrices * rows * columns];
        for (number, values) in values.chunks_mut(part).enumerate() {
            factors.apply((number * part) as u64, [rows, columns], values);
        }
        values
    }

    #[test]
    fn parts_of_any_length_give_the_same() {
        let of_experts = factors(&[2.0, 3.0, 5.0, 7.0, 11.0, 13.0], &[1.0, 10.0], 0.0);
        let expected = [2.0, 3.0, 5.0, 20.0, 30.0, 50.0, 7.0, 11.0, 13.0, 70.0, 110.0, 130.0];
        for part in 1..13 {
            assert_eq!(applied(&of_experts, [2, 2, 3], part), expected, "{part}");
        }
        let shared = factors(&[2.0, 3.0, 5.0], &[1.0, 10.0, 100.0, 1000.0], 0.0);
        let expected = [2.0, 3.0, 5.0, 20.0, 30.0, 50.0, 200.0, 300.0, 500.0, 2000.0, 3000.0, 5000.0];
        for part in [1, 4, 12] {
            assert_eq!(applied(&shared, [2, 2, 3], part), expected, "{part}");
        }
    }

    #[test]
    fn a_gain_is_multiplied_and_not_its_distance_from_one() {
        assert_eq!(applied(&factors(&[0.5, 2.0], &[], 1.0), [1, 1, 2], 1), [0.0, 3.0]);
    }

    #[test]
    fn factors_of_a_matrix_are_its_own_or_those_of_all() {
        let own = factors(&[1.0, 2.0, 3.0, 4.0], &[], 0.0);
        assert_eq!(own.of_matrix(1, 2), Some(&[3.0, 4.0][..]));
        assert_eq!(factors(&[1.0, 2.0], &[], 0.0).of_matrix(1, 2), Some(&[1.0, 2.0][..]));
        assert_eq!(factors(&[], &[1.0], 0.0).of_matrix(0, 2), None);
    }

    #[test]
    fn factors_of_another_number_do_not_fit() {
        let stack = Shape::new([2, 4, 3]);
        assert!(factors(&[1.0; 3], &[1.0; 8], 0.0).fits(&stack));
        assert!(factors(&[1.0; 6], &[1.0; 4], 0.0).fits(&stack));
        assert!(!factors(&[1.0; 12], &[], 0.0).fits(&stack));
        assert!(!factors(&[], &[1.0; 3], 0.0).fits(&stack));
        assert!(factors(&[1.0; 5], &[], 1.0).fits(&Shape::new([5])));
    }
}
