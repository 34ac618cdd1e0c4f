//! The exact path: weights decoded to `f32`, a tile at a time, times inputs as they are.
//!
//! The order of sums is part of the definition, so that neither the instructions, nor the number of threads, nor the
//! number of input rows changes a bit. With w decoded as [`Decoder`](crate::Decoder) decodes to F32:
//!
//! ```text
//! lane[i] = fused sum of w[k] × x[k] over k ≡ i (mod 16), ascending      16 lanes, from zero
//! y       = the lanes added in a tree: i with i + 8, with i + 4, with i + 2, with i + 1
//! ```
//!
//! A tile of weights is decoded for as many rows of the input as stay in the second-level cache, and lies there too. Its
//! products are kept as lanes between one tile and the next.

pub(super) mod portable;
mod reader;

pub(super) use reader::Reader;

use super::{
    level::{Kind, Level},
    scratch::{Scratch, first_line},
    weights::Weights,
};
#[cfg(target_arch = "x86_64")]
use crate::{Format, matmul::weights::Stored};

/// Lanes of a sum.
pub(super) const LANES: usize = 16;

/// Rows of a tile where the input has few rows, and where it has many.
const FEW_ROWS: usize = 4;
const MANY_ROWS: usize = 16;
/// Largest number of input rows that count as few.
const FEW: usize = 6;
/// Input rows that a kernel takes at once.
const PER_KERNEL: usize = 6;
/// Most input rows that are kept while all weights pass by, and the least, however long they are.
const INPUTS: usize = 126;
const FEW_KEPT: usize = 12;
/// Numbers of the input that are kept.
const CACHED: usize = 9 << 15;
/// Columns of a tile, where there are few input rows and where there are many: sixteen rows of weights and six of the
/// input lie in the nearest cache then. Multiples of every group and of [`LANES`].
const FEW_COLUMNS: usize = 1024;
const MANY_COLUMNS: usize = 512;

/// Rows of the input, `[rows, stride]`: padded with zeros to whole lanes.
#[derive(Debug)]
pub(super) struct Input<'a> {
    pub(super) numbers: std::borrow::Cow<'a, [f32]>,
    /// Place of the first row.
    start: usize,
    pub(super) stride: usize,
}

impl<'a> Input<'a> {
    /// Takes rows of `columns` numbers. Copies them where they are not whole lanes, and where there are many: at a
    /// distance of an odd number of lanes, the same columns of all rows find room in a cache.
    pub(super) fn new(x: &'a [f32], columns: usize) -> Self {
        let is_few = x.len() <= FEW * columns;
        let stride = if is_few { columns.next_multiple_of(LANES) } else { odd_lanes(columns) };
        if stride == columns {
            return Self { numbers: x.into(), start: 0, stride };
        }
        let rows = x.len() / columns.max(1);
        let mut numbers = vec![0.0; rows * stride + LANES];
        let start = first_line(&numbers);
        for (row, padded) in x.chunks_exact(columns.max(1)).zip(numbers[start..].chunks_exact_mut(stride)) {
            padded[..columns].copy_from_slice(row);
        }
        Self { numbers: numbers.into(), start, stride }
    }
}

/// A tile: decoded rows of weights, and the rows of the input at the same columns. Both start at the first number, and
/// have `stride` numbers from one row to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile<'a> {
    pub(super) weights: &'a [f32],
    pub(super) rows: usize,
    pub(super) weights_stride: usize,
    pub(super) inputs: &'a [f32],
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "the portable loop goes over the lanes"))]
    pub(super) inputs_rows: usize,
    pub(super) inputs_stride: usize,
    /// Columns, a multiple of [`LANES`].
    pub(super) columns: usize,
}

/// Lanes of the sums of a tile, `[inputs, rows]`.
pub(super) type Lanes = [[f32; LANES]];

/// Computes all rows of `weights`. `y` has one slice for each row of the input.
pub(super) fn multiply(
    level: Level,
    weights: Weights<'_>,
    input: &Input<'_>,
    y: &mut [&mut [f32]],
    scratch: &mut Scratch,
) {
    #[cfg(target_arch = "x86_64")]
    if let (Kind::Avx512(proof), [y], Stored::Encoded(parts)) = (level.0, &mut *y, weights.stored)
        && let Format::Affine { bits: bits @ (4 | 8) } = parts.scheme.format()
    {
        return proof.exact_one(bits, parts, &input.numbers[input.start..], y);
    }
    let reader = Reader::new(level.decoding(), weights);
    let (inputs, columns) = (y.len(), weights.columns());
    let (tile_rows, tile_columns) = if inputs <= FEW { (FEW_ROWS, FEW_COLUMNS) } else { (MANY_ROWS, MANY_COLUMNS) };
    let tile_columns = tile_columns.min(input.stride);
    // As many input rows as stay in the second-level cache while all weights pass by.
    let kept = (CACHED / input.stride / PER_KERNEL * PER_KERNEL).clamp(FEW_KEPT, INPUTS);
    let tile_stride = odd_lanes(tile_columns);
    let (decoded, lanes) = scratch.exact(tile_rows * tile_stride, tile_rows * inputs.min(kept));
    for (y, x) in y.chunks_mut(kept).zip(input.numbers[input.start..].chunks(kept * input.stride)) {
        for first in (0..weights.rows()).step_by(tile_rows) {
            let rows = tile_rows.min(weights.rows() - first);
            let lanes = &mut lanes[..y.len() * rows];
            lanes.fill([0.0; LANES]);
            for start in (0..columns).step_by(tile_columns) {
                let end = columns.min(start + tile_columns);
                for (row, out) in decoded.chunks_exact_mut(tile_stride).enumerate().take(rows) {
                    let (out, padding) = out.split_at_mut(end - start);
                    reader.read_at(level, first + row, start..end, out);
                    padding.fill(0.0);
                }
                let tile = Tile {
                    weights: decoded,
                    rows,
                    weights_stride: tile_stride,
                    inputs: &x[start..],
                    inputs_rows: y.len(),
                    inputs_stride: input.stride,
                    columns: (end - start).next_multiple_of(LANES),
                };
                add(level, tile, lanes);
            }
            for (y, lanes) in y.iter_mut().zip(lanes.chunks_exact(rows)) {
                totals(level, lanes, &mut y[first..first + rows]);
            }
        }
    }
}

/// Rounds a number of columns up to an odd number of lanes.
const fn odd_lanes(columns: usize) -> usize {
    (columns.div_ceil(LANES) | 1) * LANES
}

/// Adds the products of a tile to the lanes.
fn add(level: Level, tile: Tile<'_>, lanes: &mut Lanes) {
    match level.0 {
        Kind::Portable => portable::add(tile, lanes),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(proof) => proof.add_exact(tile, lanes),
        #[cfg(target_arch = "x86_64")]
        Kind::AvxVnni(proof) => proof.avx2().add_exact(tile, lanes),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512(proof) => proof.add_exact(tile, lanes),
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        Kind::Neon => portable::add(tile, lanes),
    }
}

/// Adds the sixteen lanes of each number of `y`.
fn totals(level: Level, lanes: &Lanes, y: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if let Kind::Avx512(proof) = level.0 {
        return proof.exact_totals(lanes, y);
    }
    let _ = level;
    for (y, lanes) in y.iter_mut().zip(lanes) {
        *y = total(*lanes);
    }
}

/// Adds sixteen lanes in the order of the module's definition.
pub(super) fn total(mut lanes: [f32; LANES]) -> f32 {
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    quiet(lanes[0])
}

/// Turns a NaN into the quiet one without a sign, because the sign and the payload that arithmetic produces depend on
/// the machine.
pub(super) fn quiet(total: f32) -> f32 {
    if total.is_nan() { f32::NAN } else { total }
}
