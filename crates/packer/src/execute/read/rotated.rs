//! Values of a tensor after the residual stream was rotated.
//!
//! A weight that reads the stream is rotated row by row, after its columns took over the gains of the norm before it. A weight
//! that writes to the stream is rotated column by column: as many columns at a time as fit the memory, for which the matrix is
//! read once more each time. Of a row, only the columns that are wanted are kept.

use longshore_quant::FloatType;
use longshore_transform::float;

use super::{
    piece::{Piece, as_index},
    shards::ShardFiles,
    summed::{SumBuffers, SummedReader},
};
use crate::{
    execute::error::ImportError,
    io::memory,
    plan::planned::{PlannedTensor, Turn, float_type},
    source::rotation::SourceRotation,
};

/// Numbers that are rotated at a time, unless a row has more.
const ROWS: usize = 64 << 10;
/// Numbers of a matrix whose columns are rotated at a time.
const COLUMNS: usize = 2 << 20;
/// Columns are taken in multiples of this number: whole groups of any scheme.
const GROUP: usize = 128;

/// Buffers for rotating, reused for every piece of every tensor.
#[derive(Debug, Default)]
pub(super) struct RotateBuffers {
    values: Vec<f32>,
    out: Vec<u8>,
    row: Vec<f64>,
    spare: Vec<f64>,
}

/// Reads rotated values, piece by piece.
pub(super) struct RotatedReader<'a> {
    files: &'a ShardFiles<'a>,
    tensor: &'a PlannedTensor,
    turn: Turn,
    spec: &'a SourceRotation,
    output: FloatType,
    stream: Stream<'a>,
    /// Gains of the columns, once they are read.
    gains: Option<Vec<f64>>,
    rows: usize,
    columns: usize,
    matrices: usize,
    /// The next number, or the next matrix and column.
    at: u64,
    corner: (usize, usize),
}

/// Values of a tensor before it is rotated, in order.
struct Stream<'a> {
    files: &'a ShardFiles<'a>,
    tensor: &'a PlannedTensor,
    reader: SummedReader<'a>,
    /// Values that were read and are not rotated yet, and the source bytes that were read for them.
    pending: Vec<f32>,
    read: u64,
}

impl<'a> RotatedReader<'a> {
    /// Reads values of type `output`.
    pub(super) fn new(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor, turn: Turn, output: FloatType) -> Self {
        let (rows, columns, matrices) = match tensor.shape.dims() {
            [outer @ .., rows, columns] => (*rows, *columns, outer.iter().product()),
            dims => (1, dims.iter().product(), 1),
        };
        Self {
            files,
            tensor,
            turn,
            spec: files.rotation(),
            output,
            stream: Stream::new(files, tensor),
            gains: None,
            rows: as_index(rows),
            columns: as_index(columns),
            matrices: as_index(matrices),
            at: 0,
            corner: (0, 0),
        }
    }

    /// Number of codes of the source that were NaN by mistake.
    pub(super) fn mended(&self) -> u64 {
        self.stream.reader.mended()
    }

    /// The next piece; `None` after the last.
    pub(super) fn next<'b>(
        &mut self,
        buffers: &'b mut RotateBuffers,
        source: &mut SumBuffers,
    ) -> Result<Option<Piece<'b>>, ImportError> {
        match self.turn {
            Turn::Reads { gain } => self.next_rows(gain, buffers, source),
            Turn::Gain => self.next_gains(buffers, source),
            Turn::Writes => self.next_columns(buffers, source),
        }
    }

    fn next_rows<'b>(
        &mut self,
        gain: Option<usize>,
        buffers: &'b mut RotateBuffers,
        source: &mut SumBuffers,
    ) -> Result<Option<Piece<'b>>, ImportError> {
        let len = (ROWS / self.columns).max(1) * self.columns;
        self.stream.fill(len, source)?;
        let len = len.min(self.stream.pending.len());
        if len == 0 {
            return Ok(None);
        }
        if let Some(gain) = gain.filter(|_| self.gains.is_none()) {
            self.gains = Some(self.read_gains(gain)?);
        }
        let RotateBuffers { values, out, row, spare } = buffers;
        values.clear();
        values.extend(self.stream.pending.drain(..len));
        for line in values.chunks_exact_mut(self.columns) {
            row.clear();
            row.extend(line.iter().map(|value| f64::from(*value)));
            if let Some(gains) = &self.gains {
                row.iter_mut().zip(gains).for_each(|(value, gain)| *value *= gain);
            }
            self.spec.rotation.apply(row, spare);
            line.iter_mut().zip(&*row).for_each(|(value, rotated)| *value = round(*rotated));
        }
        self.write(values, out).map(Some)
    }

    /// The gains that norms are left with.
    fn next_gains<'b>(
        &mut self,
        buffers: &'b mut RotateBuffers,
        source: &mut SumBuffers,
    ) -> Result<Option<Piece<'b>>, ImportError> {
        self.stream.fill(1, source)?;
        if self.stream.pending.is_empty() {
            return Ok(None);
        }
        let RotateBuffers { values, out, .. } = buffers;
        values.clear();
        values.resize(self.stream.pending.len(), 1.0);
        self.stream.pending.clear();
        self.write(values, out).map(Some)
    }

    /// The piece of the numbers that follow those before them.
    fn write<'b>(&mut self, values: &[f32], out: &'b mut Vec<u8>) -> Result<Piece<'b>, ImportError> {
        let size = self.output.size();
        memory::resize(out, values.len() * size)?;
        float::write(self.output, values, out);
        let (at, read) = (self.at * size as u64, std::mem::take(&mut self.stream.read));
        self.at += values.len() as u64;
        Ok(Piece::one_run(out, at, read))
    }

    fn next_columns<'b>(
        &mut self,
        buffers: &'b mut RotateBuffers,
        source: &mut SumBuffers,
    ) -> Result<Option<Piece<'b>>, ImportError> {
        let (rows, columns, (matrix, first)) = (self.rows, self.columns, self.corner);
        if matrix == self.matrices || columns == 0 {
            return Ok(None);
        }
        let width = ((COLUMNS / rows / GROUP).max(1) * GROUP).min(columns - first);
        let RotateBuffers { values, out, row, spare } = buffers;
        memory::fill(values, rows * width, 0.0)?;
        let shape = [rows, columns];
        let mut take = |row: usize, column: usize, part: &[f32]| {
            let (from, to) = (column.max(first), (column + part.len()).min(first + width));
            if from < to {
                values[row * width + from - first..][..to - from].copy_from_slice(&part[from - column..to - column]);
            }
        };
        // The source bytes that a matrix was read from are counted once, and so are codes that were NaN.
        let read = if first == 0 {
            self.stream.matrix(shape, source, &mut take)?;
            std::mem::take(&mut self.stream.read)
        } else {
            let mut again = Stream::new(self.files, self.tensor);
            let passed = if again.reader.seek((matrix * rows * columns) as u64) { 0 } else { matrix };
            for _ in 0..passed {
                again.matrix(shape, source, &mut |_, _, _| {})?;
            }
            again.matrix(shape, source, &mut take)?;
            0
        };
        for column in 0..width {
            row.clear();
            row.extend(values[column..].iter().step_by(width).map(|value| f64::from(*value)));
            self.spec.rotation.apply(row, spare);
            for (value, rotated) in values[column..].iter_mut().step_by(width).zip(&*row) {
                *value = round(*rotated);
            }
        }
        let size = self.output.size();
        memory::resize(out, values.len() * size)?;
        float::write(self.output, values, out);
        let start = (matrix * rows * columns + first) as u64;
        self.corner = if first + width == columns { (matrix + 1, 0) } else { (matrix, first + width) };
        let run = if width == columns { out.len() } else { width * size };
        Ok(Some(Piece { bytes: out, at: start * size as u64, run, stride: (columns * size) as u64, read }))
    }

    /// The gains of a norm.
    fn read_gains(&self, norm: usize) -> Result<Vec<f64>, ImportError> {
        let tensor = self.files.tensor(norm);
        let kind = float_type(tensor.dtype).expect("the plan has checked the norm");
        let mut bytes = memory::zeros(as_index(tensor.byte_len()))?;
        self.files.read(tensor, 0, &mut bytes)?;
        let mut gains = vec![0.0; bytes.len() / kind.size()];
        float::read(kind, &bytes, &mut gains);
        let count = gains.iter().filter(|gain| !gain.is_finite()).count() as u64;
        if count > 0 {
            let (tensor, path) = (tensor.name.clone(), self.files.path_of(norm));
            return Err(ImportError::RotatedNonFinite { tensor, path, count });
        }
        Ok(gains.into_iter().map(f64::from).collect())
    }
}

impl<'a> Stream<'a> {
    fn new(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        Self { files, tensor, reader: SummedReader::wide(files, tensor), pending: Vec::new(), read: 0 }
    }

    /// Reads until `len` numbers are there, or the tensor ends.
    fn fill(&mut self, len: usize, source: &mut SumBuffers) -> Result<(), ImportError> {
        let kind = SummedReader::wide_float(self.tensor);
        while self.pending.len() < len {
            let Some(piece) = self.reader.next(source)? else { break };
            for (_, bytes) in piece.runs() {
                let (from, more) = (self.pending.len(), bytes.len() / kind.size());
                memory::grow(&mut self.pending, more)?;
                float::read(kind, bytes, &mut self.pending[from..]);
                let count = self.pending[from..].iter().filter(|value| !value.is_finite()).count() as u64;
                if count > 0 {
                    let (tensor, path) =
                        (self.tensor.name.clone(), self.files.path_of(self.tensor.units[0].parts.weight));
                    return Err(ImportError::RotatedNonFinite { tensor, path, count });
                }
            }
            self.read += piece.read_len();
        }
        Ok(())
    }

    /// Reads the next matrix, of `rows` by `columns`, and hands on parts of its rows: the row, the first column, and the values.
    fn matrix(
        &mut self,
        [rows, columns]: [usize; 2],
        source: &mut SumBuffers,
        take: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> Result<(), ImportError> {
        let (mut done, all) = (0, rows * columns);
        while done < all {
            self.fill(1, source)?;
            let count = self.pending.len().min(all - done);
            assert!(count > 0, "BUG: {} has fewer rows than planned", self.tensor.name);
            let mut rest = &self.pending[..count];
            while !rest.is_empty() {
                let column = done % columns;
                let (part, after) = rest.split_at((columns - column).min(rest.len()));
                take(done / columns, column, part);
                done += part.len();
                rest = after;
            }
            self.pending.drain(..count);
        }
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "values are F32")]
fn round(value: f64) -> f32 {
    value as f32
}
