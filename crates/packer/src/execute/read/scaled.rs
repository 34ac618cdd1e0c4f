//! Values of a tensor whose columns or rows are multiplied by factors.

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
    plan::{factors::Factors, planned::PlannedTensor},
};

/// Buffers for multiplying, reused for every piece of every tensor.
#[derive(Debug, Default)]
pub(super) struct ScaleBuffers {
    values: Vec<f32>,
    out: Vec<u8>,
}

/// Reads values that are multiplied by factors, piece by piece.
pub(super) struct ScaledReader<'a> {
    reader: SummedReader<'a>,
    /// The type of the values that are read, and of those that are made.
    source: FloatType,
    output: FloatType,
    factors: &'a Factors,
    rows: usize,
    columns: usize,
}

impl<'a> ScaledReader<'a> {
    /// Reads values of type `output`.
    pub(super) fn new(
        files: &'a ShardFiles<'a>,
        tensor: &'a PlannedTensor,
        factors: &'a Factors,
        output: FloatType,
    ) -> Self {
        let (rows, columns) = match tensor.shape.dims() {
            [.., rows, columns] => (*rows, *columns),
            dims => (1, dims.iter().product()),
        };
        Self {
            reader: SummedReader::wide(files, tensor),
            source: SummedReader::wide_float(tensor),
            output,
            factors,
            rows: as_index(rows),
            columns: as_index(columns),
        }
    }

    /// Number of codes of the source that were NaN by mistake.
    pub(super) fn mended(&self) -> u64 {
        self.reader.mended()
    }

    /// The next piece; `None` after the last.
    pub(super) fn next<'b>(
        &mut self,
        buffers: &'b mut ScaleBuffers,
        source: &'b mut SumBuffers,
    ) -> Result<Option<Piece<'b>>, ImportError> {
        let Some(piece) = self.reader.next(source)? else { return Ok(None) };
        let ScaleBuffers { values, out } = buffers;
        let (read, made) = (self.source.size(), self.output.size());
        out.clear();
        for (at, bytes) in piece.runs() {
            memory::resize(values, bytes.len() / read)?;
            float::read(self.source, bytes, values);
            self.factors.apply(at / read as u64, [self.rows, self.columns], values);
            let from = out.len();
            memory::resize(out, from + values.len() * made)?;
            float::write(self.output, values, &mut out[from..]);
        }
        let widened = |bytes: u64| bytes / read as u64 * made as u64;
        Ok(Some(Piece {
            bytes: out,
            at: widened(piece.at),
            run: piece.run / read * made,
            stride: widened(piece.stride),
            read: piece.read,
        }))
    }
}
