//! Writing one restored tensor.

use std::{fs::File, io, ops::Range, path::Path};

use longshore_manifest::{Progress, Store};

use super::{
    error::ExportError,
    restore::{Output, Pick, Values},
    stored::{Reader, Stored},
};
use crate::{
    io::{memory, positioned::write_all_at},
    narrow::narrow_in_place,
    transpose::{QUANTUM, Tile, transpose},
};

/// Number of elements that are decoded and written at a time: a multiple of every group size.
const CHUNK: u64 = 256 << 10;

/// Picked runs of fewer bytes are read together with what lies between them.
const SHORT_RUN: u64 = 4 << 10;
/// Number of rows and columns of the tile that is read at a time of a matrix that is transposed, if the matrix has as
/// many. Both the lines that are read and the lines that are written are then long enough.
const SIDE: u64 = 512;

/// A writer of restored tensors, for one thread.
pub(super) struct TensorWriter<'a> {
    reader: Reader<'a>,
    file: &'a File,
    /// Path of the file.
    path: &'a Path,
    stop: &'a dyn Fn() -> bool,
    progress: &'a dyn Progress,
    /// The codes that are being decoded: weights, scales and biases.
    codes: [Vec<u8>; 3],
    /// The runs of picked elements, with what lies between them.
    runs: Vec<u8>,
}

impl<'a> TensorWriter<'a> {
    pub(super) fn new(
        store: &'a Store,
        file: &'a File,
        path: &'a Path,
        stop: &'a dyn Fn() -> bool,
        progress: &'a dyn Progress,
    ) -> Self {
        let (reader, codes, runs) = (Reader::new(store), Default::default(), Vec::new());
        Self { reader, file, path, stop, progress, codes, runs }
    }

    /// Writes all of `output` at `at`, in bytes from the start of the file. Returns early, without an error, once `stop`
    /// returns true.
    pub(super) fn write(&mut self, output: &Output<'_>, at: u64) -> Result<(), ExportError> {
        if output.elements == 0 {
            return Ok(());
        }
        match *output.shape.dims() {
            [.., columns, rows] if output.is_transposed => self.write_transposed(output, (rows, columns), at),
            _ => self.write_in_order(output, at),
        }
    }

    fn write_in_order(&mut self, output: &Output<'_>, mut at: u64) -> Result<(), ExportError> {
        let mut buffer = Vec::new();
        let end = output.start + output.elements;
        let mut from = output.start;
        while from < end && !(self.stop)() {
            let to = end.min(from + CHUNK);
            self.read(output, from, to, &mut buffer)?;
            self.put(&buffer, at)?;
            self.progress.advance(buffer.len() as u64);
            at += buffer.len() as u64;
            from = to;
        }
        Ok(())
    }

    /// Reads a tensor `[…, rows, columns]` and writes it as `[…, columns, rows]`, one tile of a matrix at a time.
    fn write_transposed(
        &mut self,
        output: &Output<'_>,
        (rows, columns): (u64, u64),
        at: u64,
    ) -> Result<(), ExportError> {
        let size = u64::from(output.dtype.bits() / 8);
        let tile = stored_tile(rows, columns);
        let (mut line, mut tiled, mut turned) = (Vec::new(), Vec::new(), Vec::new());
        for matrix in (0..output.elements).step_by(as_index(rows * columns)) {
            for column in (0..columns).step_by(as_index(tile.columns)) {
                for row in (0..rows).step_by(as_index(tile.rows)) {
                    if (self.stop)() {
                        return Ok(());
                    }
                    let (width, height) = (tile.columns.min(columns - column), tile.rows.min(rows - row));
                    let first = matrix + row * columns + column;
                    if width == columns {
                        // Whole lines of the stored matrix follow each other, so they are read at once.
                        self.read(output, first, first + height * columns, &mut tiled)?;
                    } else {
                        let mut filled = 0;
                        self.resize(&mut tiled, as_index(width * height * size))?;
                        for from in (first..).step_by(as_index(columns)).take(as_index(height)) {
                            self.read(output, from, from + width, &mut line)?;
                            tiled[filled..][..line.len()].copy_from_slice(&line);
                            filled += line.len();
                        }
                    }
                    self.resize(&mut turned, tiled.len())?;
                    transpose(&tiled, as_index(height), as_index(width), as_index(size), &mut turned);
                    // Whole lines of the result follow each other, so they are written at once.
                    let run = if height == rows { turned.len() } else { as_index(height * size) };
                    for (bytes, column) in turned.chunks_exact(run).zip(column..) {
                        self.put(bytes, at + (matrix + column * rows + row) * size)?;
                    }
                    self.progress.advance(turned.len() as u64);
                }
            }
        }
        Ok(())
    }

    /// Reads the elements `from..to` of the stored tensor into `buffer`, as bytes of the output's type. They must be
    /// whole groups if the tensor is quantized.
    fn read(&mut self, output: &Output<'_>, from: u64, to: u64, buffer: &mut Vec<u8>) -> Result<(), ExportError> {
        let coded = match &output.values {
            Values::Plain(place) => {
                if let Some(pick) = output.pick {
                    return self.read_picked(place, pick, u64::from(output.dtype.bits() / 8), from..to, buffer);
                }
                let bits = u64::from(output.dtype.bits());
                return self.reader.read_to(place, from * bits / 8, (to - from) * bits / 8, buffer);
            }
            Values::Doubles(place) => {
                match output.pick {
                    Some(pick) => self.read_picked(place, pick, 8, from..to, buffer)?,
                    None => self.reader.read_to(place, from * 8, (to - from) * 8, buffer)?,
                }
                narrow_in_place(buffer);
                return Ok(());
            }
            Values::Coded(coded) => coded,
        };
        let size = coded.decoder.output().size();
        self.resize(buffer, as_index(to - from) * size)?;
        let mut at = from;
        let mut rest = buffer.as_mut_slice();
        while at < to {
            // Matrices with their own global scales are decoded one by one.
            let end = to.min((at / coded.matrix).saturating_add(1).saturating_mul(coded.matrix));
            let (here, after) = rest.split_at_mut(as_index(end - at) * size);
            coded.decode((at, end), &mut self.reader, &mut self.codes, here)?;
            (at, rest) = (end, after);
        }
        Ok(())
    }

    /// Reads the picked elements `range`. Each element has `size` bytes.
    fn read_picked(
        &mut self,
        place: &Stored<'_>,
        pick: Pick,
        size: u64,
        range: Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), ExportError> {
        self.resize(buffer, as_index((range.end - range.start) * size))?;
        let mut rest = buffer.as_mut_slice();
        let is_short = pick.run * size < SHORT_RUN;
        let first = runs(pick, range.clone()).next().map_or(0, |run| run.start);
        if is_short {
            let end = runs(pick, range.clone()).last().map_or(first, |run| run.end);
            self.reader.read_to(place, first * size, (end - first) * size, &mut self.runs)?;
        }
        for run in runs(pick, range) {
            let (here, after) = rest.split_at_mut(as_index((run.end - run.start) * size));
            if is_short {
                here.copy_from_slice(&self.runs[as_index((run.start - first) * size)..][..here.len()]);
            } else {
                self.reader.read(place, run.start * size, here)?;
            }
            rest = after;
        }
        Ok(())
    }

    fn resize(&self, buffer: &mut Vec<u8>, len: usize) -> Result<(), ExportError> {
        memory::resize(buffer, len).map_err(|error| self.fail(error.into()))
    }

    fn put(&self, bytes: &[u8], at: u64) -> Result<(), ExportError> {
        write_all_at(self.file, bytes, at).map_err(|source| self.fail(source))
    }

    fn fail(&self, source: io::Error) -> ExportError {
        ExportError::Write { path: self.path.to_owned(), source }
    }
}

/// The tile of the stored matrix that is read at a time. Columns are cut at multiples of a group.
fn stored_tile(rows: u64, columns: u64) -> Tile {
    let width = columns.min(SIDE);
    let height = rows.min(CHUNK / width);
    Tile { rows: height, columns: columns.min(CHUNK / height / QUANTUM * QUANTUM).max(width) }
}

/// The runs of elements of the stored tensor that the picked elements `range` are.
fn runs(pick: Pick, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let inside = at % pick.run;
        let count = (pick.run - inside).min(range.end.saturating_sub(at));
        let from = (at / pick.run) * pick.period + pick.first + inside;
        at += count;
        (count > 0).then_some(from..from + count)
    })
}

fn as_index(count: u64) -> usize {
    usize::try_from(count).expect("the bytes of a chunk fit in memory")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn picked_elements_are_those_of_the_runs() {
        let picked = |pick, range| runs(pick, range).collect::<Vec<_>>();
        // Picks the second of every two runs of two elements.
        let odd = Pick { run: 2, period: 4, first: 2 };
        assert_eq!(picked(odd, 0..6), [2..4, 6..8, 10..12]);
        assert_eq!(picked(odd, 1..3), [3..4, 6..7]);
        assert!(runs(Pick { first: 0, ..odd }, 2..3).eq(std::iter::once(4..5)));
        assert_eq!(picked(odd, 3..3), [0..0; 0]);
    }

    proptest! {
        #[test]
        fn a_tile_fits_a_chunk(rows in 1_u64.., columns in 1_u64..) {
            let tile = stored_tile(rows, columns);
            prop_assert!(tile.rows > 0 && tile.rows <= rows);
            prop_assert!(tile.columns > 0 && tile.columns <= columns);
            prop_assert!(tile.rows * tile.columns <= CHUNK);
            prop_assert!(tile.columns == columns || tile.columns.is_multiple_of(QUANTUM));
        }
    }
}
