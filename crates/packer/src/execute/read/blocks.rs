//! Reading ggml's blocks: whole ones, or their values.

use longshore_quant::{
    FloatType,
    ggml::{self, GgmlType},
};

use super::{
    piece::Piece,
    plain::{ReadBuffers, TensorReader},
    shards::{ReadError, ShardFiles},
};
use crate::{
    io::memory,
    model::coding::kind::Coding,
    plan::{blocks::type_of, planned::PlannedTensor},
    transpose::QUANTUM,
};

/// Joins pieces of a tensor's bytes, cut anywhere, to whole units of equal length. Pieces follow each other.
#[derive(Debug)]
pub(in crate::execute) struct Units {
    unit: usize,
    /// Place of the first held byte, from the start of the tensor.
    start: u64,
    held: Vec<u8>,
    /// Number of held bytes that were returned, and are dropped next time.
    returned: usize,
}

impl Units {
    pub(in crate::execute) fn new(unit: usize) -> Self {
        Self { unit, start: 0, held: Vec::new(), returned: 0 }
    }

    /// Takes the bytes from `at` on, and returns the whole units of what was not returned before, with their place.
    pub(in crate::execute) fn push(&mut self, at: u64, bytes: &[u8]) -> (u64, &[u8]) {
        self.held.drain(..self.returned);
        self.start += self.returned as u64;
        if self.held.is_empty() {
            self.start = at;
        }
        assert_eq!(at, self.start + self.held.len() as u64, "BUG: blocks are cut and not continued");
        self.held.extend_from_slice(bytes);
        self.returned = self.held.len() / self.unit * self.unit;
        (self.start, &self.held[..self.returned])
    }

    /// The bytes that are left, which are no whole unit, with their place.
    pub(in crate::execute) fn rest(&mut self) -> (u64, &[u8]) {
        self.held.drain(..self.returned);
        self.start += self.returned as u64;
        self.returned = self.held.len();
        (self.start, &self.held)
    }
}

/// Buffers for decoded values, reused for every piece.
#[derive(Debug, Default)]
pub(super) struct BlockBuffers {
    values: Vec<u8>,
}

/// Decodes a planned tensor of blocks.
pub(in crate::execute) struct BlockReader<'a> {
    reader: TensorReader<'a>,
    ggml_type: GgmlType,
    /// The type of the decoded values.
    output: FloatType,
    units: Units,
    is_done: bool,
}

impl<'a> BlockReader<'a> {
    pub(super) fn new(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        let Coding::Ggml { blocks } = tensor.coding else {
            unreachable!("BUG: {:?} has no blocks", tensor.coding);
        };
        let ggml_type = type_of(blocks);
        // Whole blocks and whole groups of any scheme.
        let quantum = usize::try_from(QUANTUM).expect("a group is small");
        let unit = ggml_type.block_bytes() * (quantum / ggml_type.block_size()).max(1);
        let reader = TensorReader::new(files, tensor);
        Self { reader, ggml_type, output: tensor.float(), units: Units::new(unit), is_done: false }
    }

    /// The next piece of decoded values; `None` after the last.
    pub(super) fn next<'b>(
        &mut self,
        read: &mut ReadBuffers,
        buffers: &'b mut BlockBuffers,
    ) -> Result<Option<Piece<'b>>, ReadError> {
        let Self { reader, ggml_type, output, units, is_done } = self;
        let (at, blocks) = loop {
            if *is_done {
                return Ok(None);
            }
            let Some(piece) = reader.next(read)? else {
                *is_done = true;
                let (at, blocks) = units.rest();
                if blocks.is_empty() {
                    return Ok(None);
                }
                break (at, blocks);
            };
            let mut runs = piece.runs();
            let (at, bytes) = runs.next().expect("a piece has a run");
            assert!(runs.next().is_none(), "BUG: blocks are read in order");
            if units.push(at, bytes).1.is_empty() {
                continue;
            }
            break units.current();
        };
        let (block, size) = (ggml_type.block_bytes(), ggml_type.block_size() * output.size());
        memory::resize(&mut buffers.values, blocks.len() / block * size)?;
        ggml::decode_to(*ggml_type, blocks, *output, &mut buffers.values).expect("BUG: a tensor of whole blocks");
        Ok(Some(Piece::one_run(&buffers.values, at / block as u64 * size as u64, blocks.len() as u64)))
    }
}

impl Units {
    /// The units that [`Self::push`] returned last.
    fn current(&self) -> (u64, &[u8]) {
        (self.start, &self.held[..self.returned])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_whole_units() {
        let bytes: Vec<u8> = (0..50).collect();
        let mut units = Units::new(7);
        let mut found = Vec::new();
        for (at, piece) in (0_u64..).step_by(5).zip(bytes.chunks(5)) {
            let (start, whole) = units.push(at, piece);
            assert_eq!((start, whole.len() % 7), (found.len() as u64, 0));
            found.extend_from_slice(whole);
        }
        let (start, rest) = units.rest();
        assert_eq!((start, rest), (49, &[49][..]));
        found.extend_from_slice(rest);
        assert_eq!(found, bytes);
    }
}
