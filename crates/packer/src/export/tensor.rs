//! Writing one restored tensor.

use std::{fs::File, io, ops::Range};

use longshore_manifest::Progress;

use super::restore::{Output, Pick, Values};
use crate::{
    io::positioned::write_all_at,
    narrow::narrow_in_place,
    transpose::{QUANTUM, Tile, transpose},
};

/// Number of elements that are decoded and written at a time: a multiple of every group size.
const CHUNK: u64 = 256 << 10;

/// Writes all of `output` at `at`, in bytes from the start of the file. Returns early, without an error, once `stop`
/// returns true.
pub(super) fn write(
    output: &Output<'_>,
    file: &File,
    at: u64,
    stop: &dyn Fn() -> bool,
    progress: &dyn Progress,
) -> io::Result<()> {
    if output.elements == 0 {
        return Ok(());
    }
    match *output.shape.dims() {
        [.., columns, rows] if output.is_transposed => {
            write_transposed(output, (rows, columns), file, at, stop, progress)
        }
        _ => write_in_order(output, file, at, stop, progress),
    }
}

fn write_in_order(
    output: &Output<'_>,
    file: &File,
    mut at: u64,
    stop: &dyn Fn() -> bool,
    progress: &dyn Progress,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    let end = output.start + output.elements;
    let mut from = output.start;
    while from < end && !stop() {
        let to = end.min(from + CHUNK);
        let bytes = values(output, from, to, &mut buffer);
        write_all_at(file, bytes, at)?;
        progress.advance(bytes.len() as u64);
        at += bytes.len() as u64;
        from = to;
    }
    Ok(())
}

/// Reads a tensor `[…, rows, columns]` and writes it as `[…, columns, rows]`, one tile of a matrix at a time.
fn write_transposed(
    output: &Output<'_>,
    (rows, columns): (u64, u64),
    file: &File,
    at: u64,
    stop: &dyn Fn() -> bool,
    progress: &dyn Progress,
) -> io::Result<()> {
    let size = u64::from(output.dtype.bits() / 8);
    let tile = stored_tile(rows, columns);
    let (mut line, mut tiled, mut turned) = (Vec::new(), Vec::new(), Vec::new());
    for matrix in (0..output.elements).step_by(as_index(rows * columns)) {
        for column in (0..columns).step_by(as_index(tile.columns)) {
            for row in (0..rows).step_by(as_index(tile.rows)) {
                if stop() {
                    return Ok(());
                }
                let (width, height) = (tile.columns.min(columns - column), tile.rows.min(rows - row));
                tiled.clear();
                for row in row..row + height {
                    let from = matrix + row * columns + column;
                    tiled.extend_from_slice(values(output, from, from + width, &mut line));
                }
                turned.resize(tiled.len(), 0);
                transpose(&tiled, as_index(height), as_index(width), as_index(size), &mut turned);
                // Whole lines of the result follow each other, so they are written at once.
                let run = if height == rows { turned.len() } else { as_index(height * size) };
                for (bytes, column) in turned.chunks_exact(run).zip(column..) {
                    write_all_at(file, bytes, at + (matrix + column * rows + row) * size)?;
                }
                progress.advance(turned.len() as u64);
            }
        }
    }
    Ok(())
}

/// The tile of the stored matrix that is read at a time. It has all rows if that leaves room for groups of columns, and
/// is cut at multiples of a group.
fn stored_tile(rows: u64, columns: u64) -> Tile {
    if rows.saturating_mul(QUANTUM) <= CHUNK {
        let width = CHUNK / rows / QUANTUM * QUANTUM;
        return Tile { rows, columns: width.min(columns) };
    }
    let width = QUANTUM.min(columns);
    Tile { rows: (CHUNK / width).min(rows), columns: width }
}

/// The elements `from..to` of the stored tensor as bytes of the output's type. They must be whole groups if the tensor
/// is quantized.
fn values<'b>(output: &Output<'b>, from: u64, to: u64, buffer: &'b mut Vec<u8>) -> &'b [u8] {
    let coded = match &output.values {
        Values::Plain(bytes) => {
            if let Some(pick) = output.pick {
                picked(bytes, pick, u64::from(output.dtype.bits() / 8), from..to, buffer);
                return buffer;
            }
            let bits = u64::from(output.dtype.bits());
            return &bytes[as_index(from * bits / 8)..as_index(to * bits / 8)];
        }
        Values::Doubles(bytes) => {
            if let Some(pick) = output.pick {
                picked(bytes, pick, 8, from..to, buffer);
            } else {
                buffer.clear();
                buffer.extend_from_slice(&bytes[as_index(8 * from)..as_index(8 * to)]);
            }
            narrow_in_place(buffer);
            return buffer;
        }
        Values::Coded(coded) => coded,
    };
    let size = coded.decoder.output().size();
    buffer.resize(as_index(to - from) * size, 0);
    let mut at = from;
    let mut rest = buffer.as_mut_slice();
    while at < to {
        // Matrices with their own global scales are decoded one by one.
        let end = to.min((at / coded.matrix).saturating_add(1).saturating_mul(coded.matrix));
        let (here, after) = rest.split_at_mut(as_index(end - at) * size);
        coded.decode(at, end, here);
        (at, rest) = (end, after);
    }
    buffer
}

/// Collects the picked elements `range` of `bytes`. Each element has `size` bytes.
fn picked(bytes: &[u8], pick: Pick, size: u64, range: Range<u64>, buffer: &mut Vec<u8>) {
    buffer.clear();
    let mut at = range.start;
    while at < range.end {
        let inside = at % pick.run;
        let count = (pick.run - inside).min(range.end - at);
        let from = (at / pick.run) * pick.period + pick.first + inside;
        buffer.extend_from_slice(&bytes[as_index(from * size)..as_index((from + count) * size)]);
        at += count;
    }
}

fn as_index(count: u64) -> usize {
    usize::try_from(count).expect("a mapped tensor fits the address space")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn picked_elements_are_those_of_the_runs() {
        let bytes: Vec<u8> = (0..24).collect();
        let picked = |pick, range| {
            let mut buffer = vec![9];
            picked(&bytes, pick, 2, range, &mut buffer);
            buffer
        };
        // Picks the second of every two runs of two elements.
        let odd = Pick { run: 2, period: 4, first: 2 };
        assert_eq!(picked(odd, 0..6), [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23]);
        assert_eq!(picked(odd, 1..3), [6, 7, 12, 13]);
        assert_eq!(picked(Pick { first: 0, ..odd }, 2..3), [8, 9]);
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
