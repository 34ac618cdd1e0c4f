//! Reading whole rows of a tensor, as F32 numbers.

use longshore_transform::float;

use crate::{
    execute::{
        error::ImportError,
        read::{
            shards::ShardFiles,
            values::{ValueBuffers, ValueReader},
        },
    },
    io::memory,
    plan::planned::PlannedTensor,
};

/// Bytes of the rows that a thread takes at a time, unless a few rows are longer: they stay in a core's own cache.
const PART: usize = 2 << 20;
/// The rows of a part are a multiple of this number, except the last of a matrix.
const ROWS: usize = 16;

/// Rows of one matrix.
pub(super) struct Part {
    pub(super) matrix: u64,
    /// The first row, counted from the first of all matrices.
    pub(super) row: u64,
    pub(super) values: Vec<f32>,
    /// Number of source bytes that were read for it.
    pub(super) read: u64,
}

/// Reads the rows of a tensor in parts.
pub(super) struct Rows<'a> {
    reader: ValueReader<'a>,
    tensor: &'a PlannedTensor,
    columns: usize,
    /// Rows of one matrix, and of the next parts.
    of_matrix: u64,
    next: u64,
    pending: Vec<f32>,
    read: u64,
}

impl<'a> Rows<'a> {
    pub(super) fn new(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor, columns: usize) -> Self {
        let of_matrix = tensor.shape.dims().iter().rev().nth(1).copied().unwrap_or(1);
        let reader = ValueReader::wide(files, tensor);
        Self { reader, tensor, columns, of_matrix, next: 0, pending: Vec::new(), read: 0 }
    }

    /// The next rows; `None` after the last, or if `matrix` is given and they belong to another.
    pub(super) fn next(
        &mut self,
        buffers: &mut ValueBuffers,
        matrix: Option<u64>,
    ) -> Result<Option<Part>, ImportError> {
        let row = self.next;
        let of_part = (PART / (self.columns * size_of::<f32>()) / ROWS).max(1) * ROWS;
        let count = (of_part as u64).min(self.of_matrix - row % self.of_matrix);
        let number = row / self.of_matrix;
        if matrix.is_some_and(|matrix| matrix != number) {
            return Ok(None);
        }
        let len = usize::try_from(count).expect("rows of a part") * self.columns;
        let kind = ValueReader::wide_float(self.tensor);
        while self.pending.len() < len {
            let Some(piece) = self.reader.next(buffers)? else { return Ok(None) };
            for (_, bytes) in piece.runs() {
                let (from, more) = (self.pending.len(), bytes.len() / kind.size());
                memory::grow(&mut self.pending, more)?;
                float::read(kind, bytes, &mut self.pending[from..]);
            }
            self.read += piece.read_len();
        }
        let rest = self.pending.split_off(len);
        let values = std::mem::replace(&mut self.pending, rest);
        self.next += count;
        Ok(Some(Part { matrix: number, row, values, read: std::mem::take(&mut self.read) }))
    }

    /// Number of codes of the source that were NaN by mistake.
    pub(super) fn mended(&self) -> u64 {
        self.reader.mended()
    }
}
