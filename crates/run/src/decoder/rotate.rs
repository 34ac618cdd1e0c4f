//! Rotation of queries and keys by their positions.

use crate::spec::RopeSpec;

/// Sines and cosines of the rows of a batch, for each rotation of a model.
#[derive(Debug, Default)]
pub(crate) struct Rotations {
    tables: Vec<Vec<(f32, f32)>>,
}

impl Rotations {
    /// Computes the tables for rows at the given positions.
    pub(crate) fn fill(&mut self, ropes: &[RopeSpec], positions: &[usize]) {
        self.tables.resize_with(ropes.len(), Vec::new);
        for (table, rope) in self.tables.iter_mut().zip(ropes) {
            table.clear();
            for position in positions {
                table.extend(rope.frequencies.iter().map(|frequency| {
                    let (sin, cos) = (*position as f64 * frequency).sin_cos();
                    (cos as f32 * rope.scale, sin as f32 * rope.scale)
                }));
            }
        }
    }

    /// Rotates the first elements of a head in place, for the row of this number.
    pub(crate) fn apply(&self, (at, rope): (usize, &RopeSpec), row: usize, head: &mut [f32]) {
        let pairs = rope.frequencies.len();
        let table = &self.tables[at][row * pairs..][..pairs];
        if rope.interleaved {
            for (pair, (cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(table) {
                let [a, b] = *pair;
                *pair = [a * cos - b * sin, b * cos + a * sin];
            }
        } else {
            let (first, second) = head.split_at_mut(pairs);
            for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(table) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}
