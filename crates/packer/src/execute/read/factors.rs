//! Reading the factors of adapters: lines of the left one, and panels of the right one.

use longshore_transform::{
    adapter::View,
    float,
    product::{WIDTH, panels},
};

use super::{piece::as_index, shards::ShardFiles};
use crate::{
    execute::error::ImportError,
    io::memory,
    plan::planned::{Merge, float_type},
};

/// Reads numbers of factors of rank `rank`.
pub(super) struct FactorReader<'r> {
    pub(super) files: &'r ShardFiles<'r>,
    pub(super) rank: u64,
    pub(super) raw: &'r mut Vec<u8>,
}

impl FactorReader<'_> {
    /// Reads `count` lines from line `first` on, each with its numbers in a row.
    pub(super) fn lines(&mut self, view: View, first: u64, count: u64, out: &mut Vec<f32>) -> Result<(), ImportError> {
        let rank = as_index(self.rank);
        if view.head.is_none() && view.rank == 1 && view.along == self.rank {
            return self.vector(view.tensor, view.element(first, 0), count * self.rank, out);
        }
        memory::fill(out, as_index(count) * rank, 0.0)?;
        self.each(view, first, count, &mut |line, k, value| out[line * rank + k] = value)
    }

    /// Reads `count` lines from line `first` on as panels: for each number of a line, those of [`WIDTH`] lines in a row.
    fn panels(&mut self, view: View, first: u64, count: u64, out: &mut Vec<f32>) -> Result<(), ImportError> {
        let rank = as_index(self.rank);
        memory::fill(out, panels(as_index(count)) * rank * WIDTH, 0.0)?;
        self.each(view, first, count, &mut |line, k, value| {
            out[(line / WIDTH * rank + k) * WIDTH + line % WIDTH] = value;
        })
    }

    /// Reads `count` elements of a vector.
    pub(super) fn vector(
        &mut self,
        tensor: usize,
        start: u64,
        count: u64,
        out: &mut Vec<f32>,
    ) -> Result<(), ImportError> {
        memory::fill(out, as_index(count), 0.0)?;
        self.read(tensor, start, count, &mut |at, value| out[at] = value)
    }

    /// Calls `put` with the line, the place in the line, and the value of each number.
    fn each(
        &mut self,
        view: View,
        first: u64,
        count: u64,
        put: &mut impl FnMut(usize, usize, f32),
    ) -> Result<(), ImportError> {
        let View { tensor, along, rank: step, .. } = view;
        if view.head.is_some() {
            return self.of_heads(view, first, count, put);
        }
        let start = view.element(first, 0);
        if along == 1 {
            for k in 0..self.rank {
                self.read(tensor, start + k * step, count, &mut |line, value| put(line, as_index(k), value))?;
            }
            return Ok(());
        }
        let rank = as_index(self.rank);
        if step == 1 && along == self.rank {
            return self.read(tensor, start, count * along, &mut |at, value| put(at / rank, at % rank, value));
        }
        // The numbers of a line lie near each other, if not beside each other.
        let step = as_index(step);
        for line in 0..count {
            let span = (self.rank - 1) * step as u64 + 1;
            self.read(tensor, start + line * along, span, &mut |at, value| {
                if at.is_multiple_of(step) {
                    put(as_index(line), at / step, value);
                }
            })?;
        }
        Ok(())
    }

    /// As [`Self::each`], where the lines of each head alternate. Their numbers lie beside each other: heads are read whole.
    fn of_heads(
        &mut self,
        view: View,
        first: u64,
        count: u64,
        put: &mut impl FnMut(usize, usize, f32),
    ) -> Result<(), ImportError> {
        let (head, rank, end) = (view.head.unwrap_or(1), as_index(self.rank), first + count);
        let from = first - first % head;
        let lines = end.next_multiple_of(head) - from;
        self.read(view.tensor, view.start + from * view.along, lines * view.along, &mut |at, value| {
            let line = view.line(from + (at / rank) as u64);
            if (first..end).contains(&line) {
                put(as_index(line - first), at % rank, value);
            }
        })
    }

    /// Calls `put` with `count` elements of a tensor from `start` on.
    fn read(
        &mut self,
        tensor: usize,
        start: u64,
        count: u64,
        put: &mut impl FnMut(usize, f32),
    ) -> Result<(), ImportError> {
        let tensor = self.files.tensor(tensor);
        let kind = float_type(tensor.dtype).expect("adapters are floats");
        let size = kind.size();
        memory::resize(self.raw, as_index(count) * size)?;
        self.files.read(tensor, start * size as u64, self.raw)?;
        let mut values = [0.0; 64];
        for (number, bytes) in self.raw.chunks(64 * size).enumerate() {
            let values = &mut values[..bytes.len() / size];
            float::read(kind, bytes, values);
            if values.iter().any(|value| !value.is_finite()) {
                return Err(ImportError::AdapterNonFinite { tensor: tensor.name.clone() });
            }
            for (at, value) in (number * 64..).zip(values) {
                put(at, *value);
            }
        }
        Ok(())
    }
}

/// Right factors that are kept between pieces.
pub(super) struct Packed {
    /// The most numbers that are kept.
    most: u64,
    held: Vec<(usize, Vec<f32>)>,
}

impl Packed {
    pub(super) fn new(most: u64) -> Self {
        Self { most, held: Vec::new() }
    }

    /// A panel of the right factor of the merge with this number. `spare` holds it where the factor is not kept.
    pub(super) fn panel<'p>(
        &'p mut self,
        number: usize,
        panel: usize,
        merge: &Merge,
        reader: &mut FactorReader<'_>,
        spare: &'p mut Vec<f32>,
    ) -> Result<&'p [f32], ImportError> {
        let len = as_index(merge.rank) * WIDTH;
        let whole = (panels(as_index(merge.columns)) * len) as u64;
        if whole > self.most {
            let first = (panel * WIDTH) as u64;
            reader.panels(merge.right, first, (merge.columns - first).min(WIDTH as u64), spare)?;
            return Ok(spare);
        }
        let at = if let Some(at) = self.held.iter().position(|(of, _)| *of == number) {
            at
        } else {
            while self.held.iter().map(|(_, held)| held.len() as u64).sum::<u64>() + whole > self.most {
                self.held.remove(0);
            }
            let mut packed = Vec::new();
            reader.panels(merge.right, 0, merge.columns, &mut packed)?;
            self.held.push((number, packed));
            self.held.len() - 1
        };
        Ok(&self.held[at].1[panel * len..][..len])
    }
}
