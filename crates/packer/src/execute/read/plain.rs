//! Reading the bytes of a planned tensor that is stored as plain values, arranged, a piece at a time.

use longshore_manifest::document::Arrangement;

use super::{
    piece::{Piece, as_index},
    shards::{ReadError, ShardFiles},
};
use crate::{
    gguf::{change, places::Places},
    io::memory,
    plan::planned::PlannedTensor,
    transpose::{QUANTUM, Tile, transpose},
};

/// Number of bytes of a tensor that are read, quantized, hashed and written at a time: whole groups of any scheme.
const CHUNK: usize = 256 << 10;
/// Number of bytes that are read at a time of a transposed tensor. A larger number makes the short lines longer that
/// the source is read in.
const TRANSPOSE_CHUNK: u64 = 4 << 20;

/// Buffers for reading, reused for every piece of every tensor.
#[derive(Debug, Default)]
pub(super) struct ReadBuffers {
    piece: Vec<u8>,
    /// A tile of a transposed matrix, in the orientation of the source, or rows of several that are put in order.
    tile: Vec<u8>,
}

/// Reads the source's bytes of a planned tensor, arranged, piece by piece.
pub(in crate::execute) struct TensorReader<'a> {
    files: &'a ShardFiles<'a>,
    tensor: &'a PlannedTensor,
    /// Length of one source tensor in bytes. All sources of a tensor have the same length.
    source_len: u64,
    len: u64,
    /// Number of bytes that have been read. Unless rows are cut, these are the first bytes of the tensor.
    at: u64,
    /// The next element to read if rows are cut: matrix, row and column.
    corner: (u64, u64, u64),
    /// Places of the values of a tensor of GGUF files.
    places: Option<Places>,
}

impl<'a> TensorReader<'a> {
    pub(super) fn new(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        let lengths = || tensor.units.iter().map(|unit| files.tensor(unit.parts.weight).byte_len());
        let (source_len, mut len) = (lengths().next().unwrap_or_default(), lengths().sum());
        let is_of_gguf = !matches!(tensor.arrangement, Arrangement::None | Arrangement::Stack | Arrangement::Transpose);
        let places = (is_of_gguf || !tensor.change.is_none()).then(|| {
            len = tensor.plain_len();
            let places = Places::of(tensor.arrangement, tensor.units.len(), &tensor.shape, len);
            places.expect("the plan arranges only what fits")
        });
        Self { files, tensor, source_len, len, at: 0, corner: (0, 0, 0), places }
    }

    /// Goes on with this byte of the tensor. Returns false if the tensor is not read in its order.
    pub(super) fn seek(&mut self, at: u64) -> bool {
        let is_in_order = self.places.is_none() && self.tensor.arrangement != Arrangement::Transpose;
        if is_in_order {
            self.at = at;
        }
        is_in_order
    }

    /// The next piece; `None` after the last.
    pub(super) fn next<'b>(&mut self, buffers: &'b mut ReadBuffers) -> Result<Option<Piece<'b>>, ReadError> {
        if self.at == self.len {
            return Ok(None);
        }
        let piece = match (self.tensor.arrangement, &self.places) {
            (_, Some(places)) => self.next_arranged(places, buffers)?,
            (Arrangement::Transpose, None) => self.next_tile(buffers)?,
            _ => self.next_bytes(buffers)?,
        };
        self.at += piece.len();
        Ok(Some(piece))
    }

    /// Reads the sources one after the other.
    fn next_bytes<'b>(&self, buffers: &'b mut ReadBuffers) -> Result<Piece<'b>, ReadError> {
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        memory::resize(&mut buffers.piece, left.min(CHUNK))?;
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

    /// Reads rows of the sources in the order of the tensor, and changes their values to the model's.
    fn next_arranged<'b>(&self, places: &Places, buffers: &'b mut ReadBuffers) -> Result<Piece<'b>, ReadError> {
        let ReadBuffers { piece, tile } = buffers;
        let chunk = places.chunk(CHUNK as u64).min(self.len - self.at);
        memory::resize(piece, as_index(chunk))?;
        places.stored(self.at, piece, tile, &mut |source, at, out: &mut [u8]| {
            self.files.read(self.files.tensor(self.tensor.units[source].parts.weight), at, out)
        })?;
        let ulps = change::part(&self.tensor.ulps, self.at, piece.len());
        if !self.tensor.change.is_none() && !change::apply(self.tensor.change, ulps, piece) {
            return Err(ReadError::Inexact { tensor: self.tensor.units[0].name.clone() });
        }
        Ok(Piece::one_run(piece, self.at, chunk))
    }

    /// Reads a tile of `[experts, out, in]` from a source of shape `[experts, in, out]`.
    fn next_tile<'b>(&mut self, buffers: &'b mut ReadBuffers) -> Result<Piece<'b>, ReadError> {
        let [.., rows, columns] = *self.tensor.shape.dims() else {
            unreachable!("BUG: a transposed tensor of rank {}", self.tensor.shape.rank())
        };
        let source = self.files.tensor(self.tensor.units[0].parts.weight);
        let size = u64::from(source.dtype.bits() / 8);
        let tile = Tile::new(rows, columns, TRANSPOSE_CHUNK / size, QUANTUM);
        let (matrix, row, column) = self.corner;
        let (height, width) = (tile.rows.min(rows - row), tile.columns.min(columns - column));
        self.corner = match (column + width == columns, row + height == rows) {
            (false, _) => (matrix, row, column + width),
            (true, false) => (matrix, row + height, 0),
            (true, true) => (matrix + 1, 0, 0),
        };

        let start = matrix * rows * columns;
        let bytes = as_index(height * width * size);
        memory::resize(&mut buffers.tile, bytes)?;
        if height == rows {
            // The tile spans whole lines of the source, so one read suffices.
            self.files.read(source, (start + column * rows) * size, &mut buffers.tile)?;
        } else {
            for (line, column) in buffers.tile.chunks_exact_mut(as_index(height * size)).zip(column..) {
                self.files.read(source, (start + column * rows + row) * size, line)?;
            }
        }
        memory::resize(&mut buffers.piece, bytes)?;
        transpose(&buffers.tile, as_index(width), as_index(height), as_index(size), &mut buffers.piece);
        let run = if width == columns { bytes } else { as_index(width * size) };
        let at = (start + row * columns + column) * size;
        Ok(Piece { bytes: &buffers.piece, at, run, stride: columns * size, read: bytes as u64 })
    }
}
