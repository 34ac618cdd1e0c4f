//! Batches of eight groups that are searched side by side.

use crate::{
    Importance,
    portable::{MAX_GROUP, element::Element, group::non_finite},
};

/// Groups per batch.
pub(super) const LANES: usize = 8;

/// One number for each group of a batch.
pub(super) type Lanes = [f32; LANES];

/// Range of a group's largest magnitude in which the group is searched. Outside of it, squares of differences leave the
/// range of `f32`.
const MAGNITUDES: std::ops::Range<f32> = 1e-12..1e12;

/// Up to eight groups, with the weight of each element.
pub(super) struct Batch {
    pub(super) values: [Lanes; MAX_GROUP],
    pub(super) weights: [Lanes; MAX_GROUP],
    /// The same elements, group by group.
    pub(super) rows: [[f32; MAX_GROUP]; LANES],
    /// Number of elements of each group that are not finite.
    pub(super) non_finite: [u64; LANES],
    pub(super) count: usize,
    group: usize,
}

impl Batch {
    pub(super) fn new(group: usize) -> Self {
        Self {
            values: [[0.0; LANES]; MAX_GROUP],
            weights: [[1.0; LANES]; MAX_GROUP],
            rows: [[0.0; MAX_GROUP]; LANES],
            non_finite: [0; LANES],
            count: 0,
            group,
        }
    }

    /// Reads the groups in `src`, at most eight. `index` is the position of the first one in the source.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "compiled with the instructions of its caller")]
    pub(super) fn read<T: Element>(&mut self, src: &[u8], index: usize, importance: Option<Importance<'_>>) {
        let group = self.group;
        self.count = src.len() / (group * T::SIZE);
        for (lane, src) in src.chunks_exact(group * T::SIZE).enumerate() {
            let row = &mut self.rows[lane][..group];
            T::read(src, row);
            self.non_finite[lane] = non_finite(row);
            for (values, value) in self.values.iter_mut().zip(row.iter()) {
                values[lane] = *value;
            }
            if let Some(importance) = importance {
                let columns = importance.of_group(index + lane, group);
                // Only ratios matter. Dividing by the largest weight keeps the sums in range.
                let largest = columns.iter().fold(0.0, |a: f32, b| a.max(*b));
                for (weights, column) in self.weights.iter_mut().zip(columns) {
                    weights[lane] = if largest > 0.0 { column / largest } else { 1.0 };
                }
            }
        }
    }

    /// Elements of a group.
    pub(super) fn row(&self, lane: usize) -> &[f32] {
        &self.rows[lane][..self.group]
    }

    /// Weights of the elements of a group.
    pub(super) fn row_weights(&self, lane: usize) -> impl Iterator<Item = f32> {
        self.weights[..self.group].iter().map(move |weights| weights[lane])
    }

    /// Returns true where a group is all finite and its largest magnitude lies in the range that can be searched.
    pub(super) fn is_ordinary(&self, lane: usize, largest: f32) -> bool {
        self.non_finite[lane] == 0 && MAGNITUDES.contains(&largest)
    }
}

/// Computes a number for each lane.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled with the instructions of its caller")]
pub(super) fn each(f: impl Fn(usize) -> f32) -> Lanes {
    let mut out = [0.0; LANES];
    for (lane, out) in out.iter_mut().enumerate() {
        *out = f(lane);
    }
    out
}
