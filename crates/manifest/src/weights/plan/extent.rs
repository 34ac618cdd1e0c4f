//! Runs of bytes at equal distances.

/// `count` runs of `run` bytes each, with starts that are `stride` bytes apart. One run is a range; many runs are a
/// shard of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    /// Start of the first run, in bytes from the start of the blob.
    pub offset: u64,
    /// Length of a run in bytes, more than 0.
    pub run: u64,
    /// Distance between the starts of two neighbouring runs in bytes, at least `run`.
    pub stride: u64,
    /// Number of runs, more than 0.
    pub count: u64,
}

impl Extent {
    /// Makes a range of `len` bytes from `offset`.
    #[must_use]
    pub fn range(offset: u64, len: u64) -> Self {
        Self { offset, run: len, stride: len, count: 1 }
    }

    /// Makes an extent of `count` runs, or of one run if they touch. Returns `None` if the end exceeds [`u64::MAX`].
    #[must_use]
    pub(super) fn runs(offset: u64, run: u64, stride: u64, count: u64) -> Option<Self> {
        let last = stride.checked_mul(count.checked_sub(1)?)?;
        offset.checked_add(last)?.checked_add(run)?;
        if run == stride || count == 1 {
            return Some(Self::range(offset, run.checked_mul(count)?));
        }
        Some(Self { offset, run, stride, count })
    }

    /// Returns the number of bytes in all runs.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.run * self.count
    }

    /// Whether the extent has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the end of the last run, in bytes from the start of the blob.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.stride * (self.count - 1) + self.run
    }

    /// Whether the extent is one range of bytes.
    #[must_use]
    pub fn is_range(&self) -> bool {
        self.count == 1
    }

    /// Returns the bytes `from .. to`, counted within the runs, as at most three extents: the end of a run, whole runs,
    /// the start of a run.
    pub(in super::super) fn slice(&self, from: u64, to: u64) -> impl Iterator<Item = Self> {
        let Self { offset, run, stride, .. } = *self;
        let at = |byte: u64| offset + byte / run * stride + byte % run;
        // End of the run that contains `from`, and start of the run that contains `to`.
        let head = from.next_multiple_of(run).min(to);
        let tail = (to / run * run).max(head);
        let whole = (tail - head) / run;
        [
            (head > from).then(|| Self::range(at(from), head - from)),
            (whole > 0).then(|| Self::runs(at(head), run, stride, whole).expect("it lies within this one")),
            (to > tail).then(|| Self::range(at(tail), to - tail)),
        ]
        .into_iter()
        .flatten()
    }

    /// Splits the extent into extents of at most `runs` runs.
    pub(super) fn chunks(self, runs: u64) -> impl Iterator<Item = Self> {
        let runs = runs.max(1);
        (0..self.count.div_ceil(runs)).map(move |chunk| {
            let first = chunk * runs;
            let count = runs.min(self.count - first);
            Self::runs(self.offset + first * self.stride, self.run, self.stride, count)
                .expect("it lies within this one")
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(extent: &Extent) -> Vec<u64> {
        (0..extent.count)
            .flat_map(|run| (0..extent.run).map(move |byte| extent.offset + run * extent.stride + byte))
            .collect()
    }

    proptest! {
        #[test]
        fn a_slice_is_those_bytes(
            offset in 0_u64..50, run in 1_u64..9, gap in 0_u64..5, count in 1_u64..9, ends in (0_u64..=80, 0_u64..=80)
        ) {
            let extent = Extent::runs(offset, run, run + gap, count).unwrap();
            let all = bytes(&extent);
            prop_assert_eq!(all.len() as u64, extent.len());
            prop_assert_eq!(all.last().unwrap() + 1, extent.end());
            let (from, to) = (ends.0.min(ends.1).min(extent.len()), ends.0.max(ends.1).min(extent.len()));
            let sliced: Vec<_> = extent.slice(from, to).flat_map(|part| bytes(&part)).collect();
            prop_assert_eq!(&sliced[..], &all[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()]);
            let chunked: Vec<_> = extent.chunks(from).flat_map(|part| bytes(&part)).collect();
            prop_assert_eq!(chunked, all);
        }
    }

    #[test]
    fn runs_that_touch_are_one_range() {
        assert_eq!(Extent::runs(7, 4, 4, 3), Some(Extent::range(7, 12)));
        assert_eq!(Extent::runs(7, 4, 400, 1), Some(Extent::range(7, 4)));
        assert_eq!(Extent::runs(u64::MAX, 1, 1, 1), None);
        assert_eq!(Extent::runs(0, 1, u64::MAX, 3), None);
    }
}
