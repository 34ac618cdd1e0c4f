//! Eight groups side by side.

use crate::{
    Importance,
    portable::{MAX_GROUP, element::Element, group::non_finite},
};

/// Groups to a batch.
pub(super) const LANES: usize = 8;

/// One number of each group.
pub(super) type Lanes = [f32; LANES];

/// Elements of groups whose magnitudes lie outside of these are so small or large that squares of differences leave the
/// range of `f32`. They are not searched.
const MAGNITUDES: std::ops::Range<f32> = 1e-12..1e12;

/// Up to eight groups, and how much each element counts.
pub(super) struct Batch {
    pub(super) values: [Lanes; MAX_GROUP],
    pub(super) weights: [Lanes; MAX_GROUP],
    /// The same, a group at a time.
    pub(super) rows: [[f32; MAX_GROUP]; LANES],
    /// Elements that are not finite.
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

    /// Reads the groups in `src`, at most eight, of which `index` is the first.
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
                // Only ratios count. Dividing by the largest keeps sums within range.
                let largest = columns.iter().fold(0.0, |a: f32, b| a.max(*b));
                for (weights, column) in self.weights.iter_mut().zip(columns) {
                    weights[lane] = if largest > 0.0 { column / largest } else { 1.0 };
                }
            }
        }
    }

    /// The elements of a group.
    pub(super) fn row(&self, lane: usize) -> &[f32] {
        &self.rows[lane][..self.group]
    }

    /// How much the elements of a group count.
    pub(super) fn row_weights(&self, lane: usize) -> impl Iterator<Item = f32> {
        self.weights[..self.group].iter().map(move |weights| weights[lane])
    }

    /// Whether a group is all finite and of magnitudes that can be searched.
    pub(super) fn is_ordinary(&self, lane: usize, largest: f32) -> bool {
        self.non_finite[lane] == 0 && MAGNITUDES.contains(&largest)
    }
}

/// A function of each lane of several.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled with the instructions of its caller")]
pub(super) fn each(f: impl Fn(usize) -> f32) -> Lanes {
    let mut out = [0.0; LANES];
    for (lane, out) in out.iter_mut().enumerate() {
        *out = f(lane);
    }
    out
}
