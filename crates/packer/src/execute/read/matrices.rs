//! A planned tensor seen as a list of matrices.

use super::piece::as_index;
use crate::plan::planned::PlannedTensor;

/// A tensor seen as matrices. Each matrix comes from one source tensor or from a part of one.
#[derive(Debug, Clone, Copy)]
pub(in crate::execute) struct Matrices {
    pub(in crate::execute) count: u64,
    pub(in crate::execute) rows: u64,
    pub(in crate::execute) columns: u64,
    /// Number of matrices in each source tensor.
    per_unit: u64,
}

impl Matrices {
    pub(in crate::execute) fn of(tensor: &PlannedTensor) -> Self {
        let [outer @ .., rows, columns] = tensor.shape.dims() else {
            unreachable!("BUG: a coded tensor of rank {}", tensor.shape.rank())
        };
        let count: u64 = outer.iter().product();
        let per_unit = count / (tensor.units.len() as u64).max(1);
        Self { count, rows: *rows, columns: *columns, per_unit: per_unit.max(1) }
    }

    /// The unit that holds the matrix, and the index of the matrix within the unit.
    pub(in crate::execute) fn place(self, matrix: u64) -> (usize, u64) {
        (as_index(matrix / self.per_unit), matrix % self.per_unit)
    }
}
