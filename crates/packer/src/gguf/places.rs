//! Places of a stored tensor's values in the tensors of a GGUF file that it was made from, and the other way round.
//!
//! Bytes are gathered by rows, so that blocks are moved whole. Each function fills a buffer with any range of bytes, and
//! asks for ranges of the other side.

use longshore_manifest::document::Arrangement;
use longshore_st_format::Shape;

use crate::transpose::transpose;

/// Rows of at most this many bytes are read together with others that lie near.
const SHORT: u64 = 16 << 10;
/// Number of bytes of short rows that are read at a time, with those in between that are not wanted.
const SPAN: u64 = 512 << 10;

/// The way between a stored tensor and its sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    Rows(Rows),
    Latent(Latent),
}

/// Rows that keep their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rows {
    order: Order,
    /// Number of rows along the axis of the stored tensor.
    along: u64,
    row_bytes: u64,
    /// Number of sources, each of one shape.
    sources: u64,
    /// Number of bytes of each source.
    source_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Same,
    Halves,
    Interleave,
    Concatenate,
    Rows { first: u64, of: u64 },
}

/// Up-projections of latent attention: see [`Arrangement::LatentHeads`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Latent {
    heads: u64,
    keys: u64,
    values: u64,
    rank: u64,
    /// Bytes of an element.
    size: u64,
}

/// Rows that follow each other on both sides.
struct Run {
    source: usize,
    row: u64,
    rows: u64,
}

impl Places {
    /// The places of a tensor of `bytes` bytes that is made of `sources` tensors. `None` if the arrangement does not fit.
    pub(crate) fn of(arrangement: Arrangement, sources: usize, shape: &Shape, bytes: u64) -> Option<Self> {
        let (dims, sources) = (shape.dims(), sources as u64);
        if let Arrangement::LatentHeads { heads, keys } = arrangement {
            let [rows, rank] = *dims else { return None };
            let values = rows.checked_div(heads)?.checked_sub(keys)?;
            let elements = rows.checked_mul(rank)?;
            let size = bytes.checked_div(elements).unwrap_or(1);
            let fits = sources == 2
                && rows.is_multiple_of(heads)
                && elements.checked_mul(size)? == bytes
                && matches!(size, 1 | 2 | 4 | 8);
            return fits.then_some(Self::Latent(Latent { heads, keys, values, rank, size }));
        }
        let (order, axis, rows) = match arrangement {
            Arrangement::None | Arrangement::Reshape => (Order::Same, None, 1),
            Arrangement::Halves { heads } => (Order::Halves, Some(0), dims.first()?.checked_div(heads)?),
            Arrangement::Interleave { axis } => (Order::Interleave, Some(axis), *dims.get(usize::from(axis))?),
            Arrangement::Concatenate { axis } => (Order::Concatenate, Some(axis), *dims.get(usize::from(axis))?),
            Arrangement::Rows { axis, first, of } => {
                (Order::Rows { first, of }, Some(axis), *dims.get(usize::from(axis))?)
            }
            _ => return None,
        };
        let all = axis.map_or(Some(1), |axis| {
            dims.get(..=usize::from(axis))?.iter().try_fold(1, |a: u64, b| a.checked_mul(*b))
        })?;
        let row_bytes = bytes.checked_div(all).unwrap_or(0);
        let source_bytes = match order {
            Order::Rows { of, .. } => row_bytes.checked_mul(of)?.checked_mul(all.checked_div(rows).unwrap_or(0))?,
            _ => bytes / sources.max(1),
        };
        let fits = match order {
            Order::Same => sources == 1,
            Order::Halves => sources == 1 && rows.is_multiple_of(2),
            Order::Interleave | Order::Concatenate => sources > 1 && rows.is_multiple_of(sources),
            Order::Rows { first, of } => sources == 1 && first.checked_add(rows)? <= of,
        };
        let fits = fits && row_bytes.checked_mul(all)? == bytes;
        fits.then_some(Self::Rows(Rows { order, along: rows, row_bytes, sources, source_bytes }))
    }

    /// Number of bytes of a source.
    pub(crate) fn source_bytes(&self, source: usize) -> u64 {
        match self {
            Self::Rows(rows) => rows.source_bytes,
            Self::Latent(latent) => {
                let of_head = if source == 0 { latent.keys } else { latent.values };
                latent.heads * of_head * latent.rank * latent.size
            }
        }
    }

    /// Number of bytes that should be asked for at a time: whole rows of the stored tensor, about `chunk` bytes.
    pub(crate) fn chunk(&self, chunk: u64) -> u64 {
        let row = match self {
            Self::Rows(rows) => rows.row_bytes,
            Self::Latent(latent) => latent.rank * latent.size,
        };
        if (1..=chunk).contains(&row) { chunk / row * row } else { chunk }
    }

    /// Fills `out` with the bytes of the stored tensor from byte `at`. `read` fills a buffer with the bytes of a source
    /// from a byte on.
    pub(crate) fn stored<E>(
        &self,
        at: u64,
        out: &mut [u8],
        scratch: &mut Vec<u8>,
        read: &mut impl FnMut(usize, u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Rows(rows) => gather(rows.row_bytes, at, out, scratch, &|row| rows.source_of(row), read),
            Self::Latent(latent) => latent.stored(at, out, scratch, read),
        }
    }

    /// Fills the beginning of `out` with the bytes of source number `source` from byte `at`. `read` fills a buffer with the
    /// bytes of the stored tensor from a byte on. Returns the number of bytes that were filled: fewer than asked for where the
    /// stored tensor ends before the source's rows do, and none where it does not have the byte.
    pub(crate) fn source<E>(
        &self,
        source: usize,
        at: u64,
        out: &mut [u8],
        scratch: &mut Vec<u8>,
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut read = |_: usize, at: u64, out: &mut [u8]| read(at, out);
        match self {
            Self::Latent(latent) if source == 0 => latent.keys(at, out, scratch, &mut read)?,
            Self::Latent(latent) => {
                let row = |row| latent.stored_value(row);
                gather(latent.rank * latent.size, at, out, scratch, &row, &mut read)?;
            }
            Self::Rows(rows @ Rows { order: Order::Rows { first, of }, .. }) => {
                let Some(row) = at.checked_div(rows.row_bytes) else { return Ok(0) };
                let (matrix, within) = (row / of, row % of);
                let Some(run) = within.checked_sub(*first).and_then(|within| rows.along.checked_sub(within)) else {
                    return Ok(0);
                };
                if run == 0 {
                    return Ok(0);
                }
                let left = run * rows.row_bytes - at % rows.row_bytes;
                let len = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let start = matrix * rows.along + within - first;
                read(0, start * rows.row_bytes + at % rows.row_bytes, &mut out[..len])?;
                return Ok(len);
            }
            Self::Rows(rows) => {
                gather(rows.row_bytes, at, out, scratch, &|row| rows.stored_of(source as u64, row), &mut read)?;
            }
        }
        Ok(out.len())
    }
}

impl Rows {
    /// The place in the sources of a row of the stored tensor, and the number of rows that follow it there, with it.
    fn source_of(&self, row: u64) -> Run {
        let Self { order, along: rows, sources, .. } = *self;
        let (matrix, within) = (row / rows, row % rows);
        let each = rows / sources;
        let (source, row, rows) = match order {
            Order::Same => (0, row, 1),
            Order::Halves => (0, matrix * rows + 2 * (within % (rows / 2)) + within / (rows / 2), 1),
            Order::Interleave => (within % sources, matrix * each + within / sources, 1),
            Order::Concatenate => (within / each, matrix * each + within % each, each - within % each),
            Order::Rows { first, of } => (0, matrix * of + first + within, rows - within),
        };
        Run { source: usize::try_from(source).expect("it is below the number of sources"), row, rows }
    }

    /// The place in the stored tensor of a row of a source.
    fn stored_of(&self, source: u64, row: u64) -> Run {
        let Self { order, along: rows, sources, .. } = *self;
        let each = rows / sources;
        let (matrix, within) = (row / each, row % each);
        let (row, rows) = match order {
            Order::Same | Order::Rows { .. } => (row, 1),
            Order::Halves => (matrix * rows + within / 2 + within % 2 * (rows / 2), 1),
            Order::Interleave => (matrix * rows + within * sources + source, 1),
            Order::Concatenate => (matrix * rows + source * each + within, each - within),
        };
        Run { source: 0, row, rows }
    }
}

impl Latent {
    fn row_bytes(&self) -> u64 {
        self.rank * self.size
    }

    fn stored<E>(
        &self,
        at: u64,
        mut out: &mut [u8],
        scratch: &mut Vec<u8>,
        read: &mut impl FnMut(usize, u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { keys, values, rank, size, .. } = *self;
        let mut at = at;
        while !out.is_empty() {
            let (row, within) = (at / self.row_bytes(), at % self.row_bytes());
            let (head, of_head) = (row / (keys + values), row % (keys + values));
            let left = out.len() as u64;
            let taken = if let Some(value) = of_head.checked_sub(keys) {
                let len = left.min((values - value) * self.row_bytes() - within);
                let (now, _) = out.split_at_mut(index(len));
                read(1, (head * values + value) * self.row_bytes() + within, now)?;
                len
            } else {
                let (rows, columns) = match left / self.row_bytes() {
                    0 => (1, left.min(self.row_bytes() - within) / size),
                    _ if within > 0 => (1, (self.row_bytes() - within) / size),
                    whole => (whole.min(keys - of_head), rank),
                };
                let first = (head * rank + within / size) * keys + of_head;
                let lines = Lines { first, stride: keys, count: columns, len: rows };
                let (now, _) = out.split_at_mut(index(rows * columns * size));
                lines.transposed(size, now, scratch, &mut |at, out| read(0, at, out))?;
                rows * columns * size
            };
            out = &mut out[index(taken)..];
            at += taken;
        }
        Ok(())
    }

    /// The first source, `[heads, rank, keys]`.
    fn keys<E>(
        &self,
        at: u64,
        mut out: &mut [u8],
        scratch: &mut Vec<u8>,
        read: &mut impl FnMut(usize, u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { keys, values, rank, size, .. } = *self;
        let bytes = keys * size;
        let mut at = at;
        while !out.is_empty() {
            let (row, within) = (at / bytes, at % bytes);
            let (head, row) = (row / rank, row % rank);
            let left = out.len() as u64;
            let (rows, columns) = match left / bytes {
                0 => (1, left.min(bytes - within) / size),
                _ if within > 0 => (1, (bytes - within) / size),
                whole => (whole.min(rank - row), keys),
            };
            let first = (head * (keys + values) + within / size) * rank + row;
            let lines = Lines { first, stride: rank, count: columns, len: rows };
            let (now, rest) = out.split_at_mut(index(rows * columns * size));
            lines.transposed(size, now, scratch, &mut |at, out| read(0, at, out))?;
            at += now.len() as u64;
            out = rest;
        }
        Ok(())
    }

    /// The place in the stored tensor of a row of the second source.
    fn stored_value(&self, row: u64) -> Run {
        let (head, value) = (row / self.values, row % self.values);
        let row = head * (self.keys + self.values) + self.keys + value;
        Run { source: 0, row, rows: self.values - value }
    }
}

/// Lines of elements, `stride` elements apart.
struct Lines {
    first: u64,
    stride: u64,
    count: u64,
    len: u64,
}

impl Lines {
    /// Reads the lines and makes columns of them.
    fn transposed<E>(
        &self,
        size: u64,
        out: &mut [u8],
        scratch: &mut Vec<u8>,
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        scratch.clear();
        scratch.resize(out.len(), 0);
        if self.len == self.stride {
            read(self.first * size, scratch)?;
        } else {
            for (line, out) in (0..).zip(scratch.chunks_exact_mut(index(self.len * size))) {
                read((self.first + line * self.stride) * size, out)?;
            }
        }
        transpose(scratch, index(self.count), index(self.len), index(size), out);
        Ok(())
    }
}

/// Fills `out` with rows from byte `at`. `place` tells where a row lies on the other side.
fn gather<E>(
    row_bytes: u64,
    at: u64,
    out: &mut [u8],
    scratch: &mut Vec<u8>,
    place: &impl Fn(u64) -> Run,
    read: &mut impl FnMut(usize, u64, &mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut done = 0;
    while done < out.len() {
        let pos = at + done as u64;
        let (row, within) = (pos / row_bytes, pos % row_bytes);
        let run = place(row);
        let left = (out.len() - done) as u64;
        let taken = if run.rows == 1 && within == 0 && row_bytes <= SHORT && left >= 2 * row_bytes {
            let whole = left / row_bytes * row_bytes;
            scattered(row_bytes, row, &mut out[done..done + index(whole)], scratch, place, read)?;
            whole
        } else {
            let len = left.min(run.rows * row_bytes - within);
            read(run.source, run.row * row_bytes + within, &mut out[done..done + index(len)])?;
            len
        };
        done += index(taken);
    }
    Ok(())
}

/// Fills `out` with whole rows from row `first`, of which those that lie near each other are read together.
fn scattered<E>(
    row_bytes: u64,
    first: u64,
    out: &mut [u8],
    scratch: &mut Vec<u8>,
    place: &impl Fn(u64) -> Run,
    read: &mut impl FnMut(usize, u64, &mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let len = index(row_bytes);
    let mut wanted: Vec<(usize, u64, usize)> = Vec::with_capacity(out.len() / len);
    for (at, row) in (first..).take(out.len() / len).enumerate() {
        let run = place(row);
        wanted.push((run.source, run.row, at));
    }
    wanted.sort_unstable();
    let mut rest = &wanted[..];
    while let [(source, start, _), ..] = *rest {
        // Every second row of a head is wanted first, the others later.
        let near = |at: usize| {
            let (other, row, _) = rest[at];
            other == source && row - rest[at - 1].1 <= 2 && (row - start + 1) * row_bytes <= SPAN
        };
        let count = (1..rest.len()).find(|at| !near(*at)).unwrap_or(rest.len());
        let (now, later) = rest.split_at(count);
        let last = now[count - 1].1;
        scratch.clear();
        scratch.resize(index((last - start + 1) * row_bytes), 0);
        read(source, start * row_bytes, scratch)?;
        for (_, row, at) in now {
            out[at * len..][..len].copy_from_slice(&scratch[index((row - start) * row_bytes)..][..len]);
        }
        rest = later;
    }
    Ok(())
}

fn index(count: u64) -> usize {
    usize::try_from(count).expect("no more than a buffer holds")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Reads both ways in steps of `step` bytes; `expected` are the elements of the stored tensor as (source, element).
    fn check(arrangement: Arrangement, sources: usize, dims: &[u64], size: usize, expected: &[(usize, u64)]) {
        let bytes = expected.len() * size;
        let places = Places::of(arrangement, sources, &Shape::from(dims), bytes as u64).expect("it fits");
        let element = |source: usize, at: u64| -> Vec<u8> {
            let id = u16::try_from(source * 1000).expect("it is small") + u16::try_from(at).expect("it is small");
            id.to_le_bytes().into_iter().cycle().take(size).collect()
        };
        let of_source = |source: usize| -> Vec<u8> {
            let count = places.source_bytes(source) / size as u64;
            (0..count).flat_map(|at| element(source, at)).collect()
        };
        let files: Vec<Vec<u8>> = (0..sources).map(of_source).collect();
        let stored: Vec<u8> = expected.iter().flat_map(|(source, at)| element(*source, *at)).collect();
        for step in [size, 3 * size, 7 * size, 1 << 20] {
            let (mut found, mut scratch) = (vec![0; bytes], Vec::new());
            for (at, out) in (0..).step_by(step).zip(found.chunks_mut(step)) {
                let mut read = |source: usize, at: u64, out: &mut [u8]| {
                    out.copy_from_slice(&files[source][index(at)..][..out.len()]);
                    Ok::<_, Infallible>(())
                };
                let Ok(()) = places.stored(at, out, &mut scratch, &mut read);
            }
            assert_eq!(found, stored, "{arrangement:?} in steps of {step}");
            for (source, file) in files.iter().enumerate() {
                let mut at = 0;
                while at < file.len() {
                    let mut out = vec![0; step.min(file.len() - at)];
                    let mut read = |at: u64, out: &mut [u8]| {
                        out.copy_from_slice(&stored[index(at)..][..out.len()]);
                        Ok::<_, Infallible>(())
                    };
                    let Ok(filled) = places.source(source, at as u64, &mut out, &mut scratch, &mut read);
                    assert_eq!(out[..filled], file[at..at + filled], "{arrangement:?} source {source} at {at}");
                    at += if filled == 0 { size } else { filled };
                }
            }
        }
    }

    #[test]
    fn rows_of_heads() {
        // Two heads of four rows of three elements.
        let rows = [0, 2, 1, 3, 4, 6, 5, 7];
        let expected: Vec<_> = rows.iter().flat_map(|row| (0..3).map(move |at| (0, row * 3 + at))).collect();
        check(Arrangement::Halves { heads: 2 }, 1, &[8, 3], 2, &expected);
        // Elements of a bias, and rows that are too long to be read together.
        check(Arrangement::Halves { heads: 2 }, 1, &[8], 4, &rows.map(|row| (0, row)));
        let rows = [0, 2, 1, 3];
        let expected: Vec<_> = rows.iter().flat_map(|row| (0..2).map(move |at| (0, row * 2 + at))).collect();
        check(Arrangement::Halves { heads: 1 }, 1, &[4, 2], 20_000, &expected);
    }

    #[test]
    fn rows_of_several_sources() {
        // Two matrices of four rows of two elements, of two sources.
        let of = |rows: [(usize, u64); 8]| -> Vec<_> {
            rows.iter().flat_map(|(source, row)| (0..2).map(move |at| (*source, row * 2 + at))).collect()
        };
        let alternate = of([(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3)]);
        check(Arrangement::Interleave { axis: 1 }, 2, &[2, 4, 2], 2, &alternate);
        check(Arrangement::Interleave { axis: 0 }, 2, &[8, 2], 2, &alternate);
        let joined = of([(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3)]);
        check(Arrangement::Concatenate { axis: 1 }, 2, &[2, 4, 2], 2, &joined);
        let joined = of([(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]);
        check(Arrangement::Concatenate { axis: 0 }, 2, &[8, 2], 2, &joined);
    }

    #[test]
    fn some_rows_of_a_source() {
        // Rows 1 and 2 of each of two matrices of four rows of two elements.
        let expected: Vec<_> = [1, 2, 5, 6].iter().flat_map(|row| (0..2).map(move |at| (0, row * 2 + at))).collect();
        check(Arrangement::Rows { axis: 1, first: 1, of: 4 }, 1, &[2, 2, 2], 2, &expected);
    }

    #[test]
    fn the_same_order() {
        let expected: Vec<_> = (0..6).map(|at| (0, at)).collect();
        check(Arrangement::Reshape, 1, &[2, 3], 2, &expected);
        check(Arrangement::None, 1, &[6], 8, &expected);
        assert!(Places::of(Arrangement::None, 1, &Shape::new([0, 4]), 0).is_some());
    }

    #[test]
    fn latent_heads() {
        // Two heads of two keys and three values, of rank 4.
        let (heads, keys, values, rank) = (2, 2, 3, 4);
        let mut expected = Vec::new();
        for head in 0..heads {
            for key in 0..keys {
                expected.extend((0..rank).map(|at| (0, (head * rank + at) * keys + key)));
            }
            for value in 0..values {
                expected.extend((0..rank).map(|at| (1, (head * values + value) * rank + at)));
            }
        }
        check(Arrangement::LatentHeads { heads, keys }, 2, &[10, 4], 2, &expected);
        check(Arrangement::LatentHeads { heads, keys }, 2, &[10, 4], 4, &expected);
    }

    #[test]
    fn what_does_not_fit() {
        let of =
            |arrangement, sources, dims: &[u64], bytes| Places::of(arrangement, sources, &Shape::from(dims), bytes);
        for (arrangement, sources, dims, bytes) in [
            (Arrangement::Stack, 2, &[2, 4][..], 16),
            (Arrangement::Halves { heads: 0 }, 1, &[4, 4], 32),
            (Arrangement::Halves { heads: 4 }, 1, &[4, 4], 32),
            (Arrangement::Halves { heads: 1 }, 1, &[], 32),
            (Arrangement::Interleave { axis: 0 }, 3, &[4, 4], 32),
            (Arrangement::Interleave { axis: 1 }, 2, &[4], 32),
            (Arrangement::Rows { axis: 0, first: 3, of: 4 }, 1, &[4, 4], 32),
            (Arrangement::LatentHeads { heads: 0, keys: 1 }, 2, &[4, 4], 32),
            (Arrangement::LatentHeads { heads: 2, keys: 3 }, 2, &[4, 4], 32),
            (Arrangement::Concatenate { axis: 0 }, 2, &[4, 4], 31),
        ] {
            assert_eq!(of(arrangement, sources, dims, bytes), None, "{arrangement:?} of {dims:?}");
        }
    }
}
