//! Rotation of queries and keys by their positions.

use crate::spec::RopeSpec;

/// Sines and cosines of the rows of a batch, for each rotation of a model.
#[derive(Debug, Default)]
pub(crate) struct Rotations {
    tables: Vec<Table>,
}

/// Cosines and sines, `[rows, pairs]`.
#[derive(Debug, Default)]
struct Table {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rotations {
    /// Computes the tables for rows at the given positions.
    pub(crate) fn fill(&mut self, ropes: &[RopeSpec], positions: &[usize]) {
        self.tables.resize_with(ropes.len(), Table::default);
        for (table, rope) in self.tables.iter_mut().zip(ropes) {
            table.cos.clear();
            table.sin.clear();
            for position in positions {
                for frequency in &rope.frequencies {
                    let (sin, cos) = (*position as f64 * frequency).sin_cos();
                    table.cos.push(cos as f32 * rope.scale);
                    table.sin.push(sin as f32 * rope.scale);
                }
            }
        }
    }

    /// Rotates the first elements of a head in place, for the row of this number.
    pub(crate) fn apply(&self, (at, rope): (usize, &RopeSpec), row: usize, head: &mut [f32]) {
        let pairs = rope.frequencies.len();
        let table = &self.tables[at];
        let turns = table.cos[row * pairs..][..pairs].iter().zip(&table.sin[row * pairs..][..pairs]);
        if rope.interleaved {
            for (pair, (cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                let [a, b] = *pair;
                *pair = [a * cos - b * sin, b * cos + a * sin];
            }
        } else {
            let (first, second) = head.split_at_mut(pairs);
            for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(turns) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}
