//! A planned tensor as matrices.

use super::piece::as_index;
use crate::{model::coding::kind::Coding, plan::planned::PlannedTensor};

/// A tensor as matrices, each from one of the source's tensors or a part of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::execute) struct Matrices {
    pub(in crate::execute) count: u64,
    pub(in crate::execute) rows: u64,
    pub(in crate::execute) columns: u64,
    /// Of one tensor of the source.
    per_unit: u64,
}

impl Matrices {
    pub(in crate::execute) fn of(tensor: &PlannedTensor) -> Self {
        if tensor.coding == Coding::Double {
            // Elements that have no rows in common: any number of them can be read at a time.
            let units = (tensor.units.len() as u64).max(1);
            let rows = tensor.shape.elements().unwrap_or_default() / units;
            return Self { count: units, rows, columns: 1, per_unit: 1 };
        }
        let [outer @ .., rows, columns] = tensor.shape.dims() else {
            unreachable!("BUG: a coded tensor of rank {}", tensor.shape.rank())
        };
        let count: u64 = outer.iter().product();
        let per_unit = count / (tensor.units.len() as u64).max(1);
        Self { count, rows: *rows, columns: *columns, per_unit: per_unit.max(1) }
    }

    /// The unit that has this matrix, and which of its matrices it is.
    pub(in crate::execute) fn place(self, matrix: u64) -> (usize, u64) {
        (as_index(matrix / self.per_unit), matrix % self.per_unit)
    }
}
