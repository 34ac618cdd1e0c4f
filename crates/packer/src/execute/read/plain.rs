//! The bytes of a planned tensor that is stored as it is, arranged, a piece at a time.

use longshore_manifest::document::Arrangement;

use super::{
    piece::{Piece, as_index},
    shards::{ReadError, ShardFiles},
};
use crate::{
    plan::planned::PlannedTensor,
    transpose::{QUANTUM, Tile, transpose},
};

/// Bytes of a tensor that are read, quantized, hashed and written at a time: whole groups of any scheme.
const CHUNK: usize = 256 << 10;
/// The same for a transposed tensor. Its source is read in short lines, which are the longer the larger this is.
const TRANSPOSE_CHUNK: u64 = 4 << 20;

/// What is read into, used again for every piece of every tensor.
#[derive(Debug, Default)]
pub(super) struct ReadBuffers {
    piece: Vec<u8>,
    /// A tile of a transposed matrix, as the source has it.
    tile: Vec<u8>,
}

/// Reads a planned tensor.
pub(in crate::execute) struct TensorReader<'a> {
    files: &'a ShardFiles<'a>,
    tensor: &'a PlannedTensor,
    /// The bytes of one source tensor; every source of a tensor has as many.
    source_len: u64,
    len: u64,
    /// All bytes before this one are read; of a tensor whose rows are cut, as many bytes are read.
    at: u64,
    /// The next element, where rows are cut: matrix, row and column.
    corner: (u64, u64, u64),
}

impl<'a> TensorReader<'a> {
    pub(super) fn new(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        let lengths = || tensor.units.iter().map(|unit| files.tensor(unit.parts.weight).byte_len());
        let (source_len, len) = (lengths().next().unwrap_or_default(), lengths().sum());
        Self { files, tensor, source_len, len, at: 0, corner: (0, 0, 0) }
    }

    /// The next piece; `None` after the last.
    pub(super) fn next<'b>(&mut self, buffers: &'b mut ReadBuffers) -> Result<Option<Piece<'b>>, ReadError> {
        if self.at == self.len {
            return Ok(None);
        }
        let piece = match self.tensor.arrangement {
            Arrangement::Transpose => self.next_tile(buffers)?,
            _ => self.next_bytes(buffers)?,
        };
        self.at += piece.len();
        Ok(Some(piece))
    }

    /// The sources one after the other.
    fn next_bytes<'b>(&self, buffers: &'b mut ReadBuffers) -> Result<Piece<'b>, ReadError> {
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        buffers.piece.resize(left.min(CHUNK), 0);
        let mut filled = 0;
        while filled < buffers.piece.len() {
            let at = self.at + filled as u64;
            let index = as_index(at / self.source_len);
            let within = at % self.source_len;
            let left = usize::try_from(self.source_len - within).unwrap_or(usize::MAX);
            let end = buffers.piece.len().min(filled.saturating_add(left));
            let source = self.files.tensor(self.tensor.units[index].parts.weight);
            self.files.read(source, within, &mut buffers.piece[filled..end])?;
            filled = end;
        }
        let bytes = buffers.piece.as_slice();
        Ok(Piece::one_run(bytes, self.at, bytes.len() as u64))
    }

    /// A tile of `[experts, out, in]` from a source `[experts, in, out]`.
    fn next_tile<'b>(&mut self, buffers: &'b mut ReadBuffers) -> Result<Piece<'b>, ReadError> {
        let [.., rows, columns] = *self.tensor.shape.dims() else {
            unreachable!("BUG: a transposed tensor of rank {}", self.tensor.shape.rank())
        };
        let size = u64::from(self.tensor.dtype.bits() / 8);
        let tile = Tile::new(rows, columns, TRANSPOSE_CHUNK / size, QUANTUM);
        let (matrix, row, column) = self.corner;
        let (height, width) = (tile.rows.min(rows - row), tile.columns.min(columns - column));
        self.corner = match (column + width == columns, row + height == rows) {
            (false, _) => (matrix, row, column + width),
            (true, false) => (matrix, row + height, 0),
            (true, true) => (matrix + 1, 0, 0),
        };

        let source = self.files.tensor(self.tensor.units[0].parts.weight);
        let start = matrix * rows * columns;
        let bytes = as_index(height * width * size);
        buffers.tile.resize(bytes, 0);
        if height == rows {
            // Whole lines of the source: one read.
            self.files.read(source, (start + column * rows) * size, &mut buffers.tile)?;
        } else {
            for (line, column) in buffers.tile.chunks_exact_mut(as_index(height * size)).zip(column..) {
                self.files.read(source, (start + column * rows + row) * size, line)?;
            }
        }
        buffers.piece.resize(bytes, 0);
        transpose(&buffers.tile, as_index(width), as_index(height), as_index(size), &mut buffers.piece);
        let run = if width == columns { bytes } else { as_index(width * size) };
        let at = (start + row * columns + column) * size;
        Ok(Piece { bytes: &buffers.piece, at, run, stride: columns * size, read: bytes as u64 })
    }
}
