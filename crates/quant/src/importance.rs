//! Column weights for the search of [`Profile::Best`](crate::Profile::Best).

/// Importance of each column of a matrix: the weight of the column's squared error in the search for a scale.
///
/// For weights that are multiplied with activations x, E\[x²\] per input channel minimizes the error of the product.
/// Only the ratios within a group matter. A group whose columns all have importance zero is searched as if all had the
/// same importance.
///
/// ```
/// use longshore_quant::Importance;
///
/// let per_column = vec![1.0; 128];
/// let importance = Importance::new(&per_column)?;
/// // For a piece of the matrix that begins in the middle of a row:
/// let tail = importance.starting_at(64);
/// # assert_eq!(tail.columns(), 128);
/// # Ok::<(), longshore_quant::ImportanceError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Importance<'a> {
    per_column: &'a [f32],
    first: usize,
}

/// Error from building an importance of numbers that cannot be weights.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportanceError {
    /// The slice has no columns.
    #[error("expected the importance of at least one column, found none")]
    Empty,
    /// A number is negative or not finite.
    #[error("expected an importance that is finite and not negative, found {found} for column {column}")]
    Value {
        /// The column, from 0.
        column: usize,
        /// The column's importance.
        found: f32,
    },
}

impl<'a> Importance<'a> {
    /// Creates an importance from one number per column of a matrix, `[columns]`, for a source that begins in column 0.
    ///
    /// # Errors
    ///
    /// [`ImportanceError::Empty`] without columns, [`ImportanceError::Value`] where a number is negative or not finite.
    pub fn new(per_column: &'a [f32]) -> Result<Self, ImportanceError> {
        if per_column.is_empty() {
            return Err(ImportanceError::Empty);
        }
        match per_column.iter().position(|value| !value.is_finite() || value.is_sign_negative() && *value != 0.0) {
            Some(column) => Err(ImportanceError::Value { column, found: per_column[column] }),
            None => Ok(Self { per_column, first: 0 }),
        }
    }

    /// Returns this importance for a source whose first element lies in column `column`, counted from the start of any
    /// row. A piece that begins at element `i` of a matrix passes `i`, or `i` modulo the number of columns.
    #[must_use]
    pub fn starting_at(self, column: usize) -> Self {
        Self { first: column % self.per_column.len(), ..self }
    }

    /// Number of columns.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.per_column.len()
    }

    /// Column of the source's first element.
    #[must_use]
    pub const fn first_column(&self) -> usize {
        self.first
    }

    /// Returns the importance of the elements of group `index` of the source, `[group]`. Rows are whole groups.
    pub(crate) fn of_group(&self, index: usize, group: usize) -> &'a [f32] {
        let groups = self.per_column.len() / group;
        let at = (self.first / group + index % groups) % groups * group;
        &self.per_column[at..at + group]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_follow_the_columns() {
        let per_column: Vec<f32> = (0..96u8).map(f32::from).collect();
        let importance = Importance::new(&per_column).expect("they are usable").starting_at(64 + 96);
        let firsts: Vec<f32> = (0..5).map(|index| importance.of_group(index, 32)[0]).collect();
        assert_eq!(firsts, [64.0, 0.0, 32.0, 64.0, 0.0]);
    }
}
