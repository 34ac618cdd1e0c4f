//! Adding the products of adapters to the values of a tensor, a piece at a time.
//!
//! A piece is seen as rectangles of its matrices. For each, lines of the left factor and panels of the right one are read
//! from the adapter's file, and their product is added in F32. A number of the result has the same bits in whatever piece.

use longshore_quant::FloatType;
use longshore_transform::{
    float,
    product::{Product, WIDTH, panels},
};

use super::{
    factors::{FactorReader, Packed},
    piece::{Piece, as_index},
    shards::ShardFiles,
    unmerged::{SourceBuffers, SourceReader},
};
use crate::{
    execute::error::ImportError,
    io::memory,
    plan::planned::{Merge, PlannedTensor},
};

/// Number of right factors' numbers that are kept for the next piece: 4 MiB of them.
const KEPT: u64 = 1 << 20;

/// Buffers for merging, reused for every piece of every tensor.
#[derive(Debug, Default)]
pub(super) struct MergeBuffers {
    values: Vec<f32>,
    out: Vec<u8>,
    left: Vec<f32>,
    sums: Vec<f32>,
    panel: Vec<f32>,
    raw: Vec<u8>,
}

/// What adapters do to one tensor.
pub(super) struct Merges<'a> {
    files: &'a ShardFiles<'a>,
    tensor: &'a PlannedTensor,
    /// The type of the values that come out.
    output: FloatType,
    product: Product,
    rows: u64,
    columns: u64,
    kept: Packed,
    /// Factors of rows and of columns, by magnitudes. `None` before they are known, empty where there are none.
    magnitudes: Option<Magnitudes>,
}

/// Factors that give outputs their magnitudes: one for each row of all matrices, and one for each column.
#[derive(Debug, Default)]
struct Magnitudes {
    of_rows: Vec<f32>,
    of_columns: Vec<f32>,
}

/// A part of a matrix whose values lie at `at`, a row every `stride`.
#[derive(Debug, Clone, Copy)]
struct Rectangle {
    matrix: u64,
    row: u64,
    rows: u64,
    column: u64,
    columns: u64,
    at: usize,
    stride: usize,
}

impl<'a> Merges<'a> {
    pub(super) fn new(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor, output: FloatType) -> Self {
        let (rows, columns) = match tensor.shape.dims() {
            [.., rows, columns] => (*rows, *columns),
            dims => (1, dims.iter().product()),
        };
        let product = Product::default();
        Self { files, tensor, output, product, rows, columns, kept: Packed::new(KEPT), magnitudes: None }
    }

    /// Finds the factors of rows, which needs a pass over the tensor if there are any.
    pub(super) fn prepare(
        &mut self,
        source: &mut SourceBuffers,
        buffers: &mut MergeBuffers,
    ) -> Result<(), ImportError> {
        if self.magnitudes.is_some() {
            return Ok(());
        }
        let mut found = Magnitudes::default();
        if self.tensor.merges.iter().any(|merge| merge.magnitude.is_some()) {
            let all = self.tensor.shape.elements().unwrap_or_default().checked_div(self.columns).unwrap_or_default();
            let mut squares = [vec![0.0_f64; as_index(all)], vec![0.0_f64; as_index(self.columns)]];
            let mut reader = SourceReader::new(self.files, self.tensor);
            while let Some(piece) = reader.next(source)? {
                let rectangles = self.add(&piece, buffers)?;
                for rectangle in rectangles {
                    self.add_squares(rectangle, &buffers.values, &mut squares);
                }
            }
            found = self.factors(&squares, buffers)?;
        }
        self.magnitudes = Some(found);
        Ok(())
    }

    /// The piece with what adapters add to it.
    pub(super) fn apply<'b>(
        &mut self,
        piece: &Piece<'_>,
        buffers: &'b mut MergeBuffers,
    ) -> Result<Piece<'b>, ImportError> {
        let rectangles = self.add(piece, buffers)?;
        for rectangle in rectangles {
            self.scale(rectangle, &mut buffers.values);
        }
        let (from, to) = (self.tensor.read_float().size(), self.output.size());
        memory::resize(&mut buffers.out, buffers.values.len() * to)?;
        float::write(self.output, &buffers.values, &mut buffers.out);
        let scaled = |bytes: u64| bytes / from as u64 * to as u64;
        Ok(Piece {
            bytes: &buffers.out,
            at: scaled(piece.at),
            run: piece.run / from * to,
            stride: scaled(piece.stride),
            read: piece.read,
        })
    }

    /// Reads the values of a piece into the buffer, and adds all products.
    fn add(&mut self, piece: &Piece<'_>, buffers: &mut MergeBuffers) -> Result<Vec<Rectangle>, ImportError> {
        let from = self.tensor.read_float();
        memory::resize(&mut buffers.values, piece.bytes.len() / from.size())?;
        float::read(from, piece.bytes, &mut buffers.values);
        let rectangles = self.rectangles(piece, from.size());
        for (number, merge) in self.tensor.merges.iter().enumerate() {
            for rectangle in &rectangles {
                self.add_product(number, merge, *rectangle, buffers)?;
            }
        }
        Ok(rectangles)
    }

    /// The rectangles that a piece consists of.
    fn rectangles(&self, piece: &Piece<'_>, size: usize) -> Vec<Rectangle> {
        let (start, run) = (piece.at / size as u64, piece.run / size);
        let place = |element: u64| {
            let row = element / self.columns;
            (row / self.rows, row % self.rows, element % self.columns)
        };
        if piece.run < piece.bytes.len() {
            let (matrix, row, column) = place(start);
            let rows = (piece.bytes.len() / piece.run) as u64;
            return vec![Rectangle { matrix, row, rows, column, columns: run as u64, at: 0, stride: run }];
        }
        let mut found = Vec::new();
        let mut done = 0_u64;
        while done < run as u64 {
            let (matrix, row, column) = place(start + done);
            let left = run as u64 - done;
            let (rows, columns) = if column > 0 || left < self.columns {
                (1, left.min(self.columns - column))
            } else {
                ((left / self.columns).min(self.rows - row), self.columns)
            };
            found.push(Rectangle { matrix, row, rows, column, columns, at: as_index(done), stride: as_index(columns) });
            done += rows * columns;
        }
        found
    }

    /// Adds a product to the part of a rectangle that it changes.
    fn add_product(
        &mut self,
        number: usize,
        merge: &Merge,
        rectangle: Rectangle,
        buffers: &mut MergeBuffers,
    ) -> Result<(), ImportError> {
        let Rectangle { matrix, row, rows, column, columns, at, stride } = rectangle;
        let (first, end) = (row.max(merge.rows.start), (row + rows).min(merge.rows.end));
        if matrix != merge.matrix || first >= end {
            return Ok(());
        }
        let MergeBuffers { values, left, sums, panel, raw, .. } = buffers;
        let (count, rank) = (as_index(end - first), as_index(merge.rank));
        let mut reader = FactorReader { files: self.files, rank: merge.rank, raw };
        reader.lines(merge.left, first - merge.rows.start, end - first, left)?;
        memory::fill(sums, count * WIDTH, 0.0)?;
        let skipped = as_index(first - row) * stride;
        for number_of_panel in as_index(column) / WIDTH..panels(as_index(column + columns)) {
            let packed = self.kept.panel(number, number_of_panel, merge, &mut reader, panel)?;
            self.product.panel(rank, count, left, rank, packed, sums);
            let of_panel = (number_of_panel * WIDTH) as u64;
            let (from, to) = (column.max(of_panel), (column + columns).min(of_panel + WIDTH as u64));
            let (within, len) = (as_index(from - of_panel), as_index(to - from));
            let start = at + skipped + as_index(from - column);
            for (line, sums) in sums.as_chunks::<WIDTH>().0.iter().enumerate() {
                let values = &mut values[start + line * stride..][..len];
                for (value, sum) in values.iter_mut().zip(&sums[within..]) {
                    *value += merge.scale * sum;
                }
            }
        }
        Ok(())
    }

    fn add_squares(&self, rectangle: Rectangle, values: &[f32], [of_rows, of_columns]: &mut [Vec<f64>; 2]) {
        let Rectangle { matrix, row, rows, column, columns, at, stride } = rectangle;
        for line in 0..rows {
            let values = &values[at + as_index(line) * stride..][..as_index(columns)];
            let of_row = &mut of_rows[as_index(matrix * self.rows + row + line)];
            for (value, of_column) in values.iter().zip(&mut of_columns[as_index(column)..]) {
                let square = f64::from(*value) * f64::from(*value);
                *of_row += square;
                *of_column += square;
            }
        }
    }

    /// Divides magnitudes by norms.
    fn factors(&self, squares: &[Vec<f64>; 2], buffers: &mut MergeBuffers) -> Result<Magnitudes, ImportError> {
        let [rows, columns] = squares;
        let mut found = Magnitudes::default();
        for merge in &self.tensor.merges {
            let Some(magnitude) = merge.magnitude else { continue };
            let (factors, squares, first, count) = if magnitude.is_of_columns {
                (&mut found.of_columns, columns, 0, merge.columns)
            } else {
                let first = merge.matrix * self.rows + merge.rows.start;
                (&mut found.of_rows, rows, first, merge.rows.end - merge.rows.start)
            };
            factors.resize(squares.len(), 1.0);
            let mut reader = FactorReader { files: self.files, rank: 1, raw: &mut buffers.raw };
            reader.vector(magnitude.tensor, magnitude.start, count, &mut buffers.left)?;
            let squares = &squares[as_index(first)..];
            for ((factor, magnitude), squares) in factors[as_index(first)..].iter_mut().zip(&buffers.left).zip(squares)
            {
                #[expect(clippy::cast_possible_truncation, reason = "a factor of F32 values")]
                let norm = squares.sqrt() as f32;
                *factor = magnitude / norm;
            }
        }
        Ok(found)
    }

    /// Gives the outputs in a rectangle their magnitudes.
    fn scale(&self, rectangle: Rectangle, values: &mut [f32]) {
        let Some(Magnitudes { of_rows, of_columns }) = &self.magnitudes else { return };
        let Rectangle { matrix, row, rows, column, columns, at, stride } = rectangle;
        for line in 0..rows {
            let values = &mut values[at + as_index(line) * stride..][..as_index(columns)];
            if let Some(factor) = of_rows.get(as_index(matrix * self.rows + row + line)) {
                for value in values.iter_mut() {
                    *value *= factor;
                }
            }
            for (value, factor) in values.iter_mut().zip(of_columns.iter().skip(as_index(column))) {
                *value *= factor;
            }
        }
    }
}
