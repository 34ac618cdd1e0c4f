//! Reading the values of a planned tensor, however the source stores them and whatever is done to them.

use longshore_quant::FloatType;

use super::{
    piece::Piece,
    rotated::{RotateBuffers, RotatedReader},
    shards::ShardFiles,
    summed::{SumBuffers, SummedReader},
};
use crate::{execute::error::ImportError, plan::planned::PlannedTensor};

/// Buffers for reading, reused for every piece of every tensor.
#[derive(Debug, Default)]
pub(in crate::execute) struct ValueBuffers {
    summed: SumBuffers,
    rotated: RotateBuffers,
}

/// Reads the values of a planned tensor, piece by piece, with what adapters add to them, and rotated if the plan says so.
pub(in crate::execute) struct ValueReader<'a>(Values<'a>);

enum Values<'a> {
    Summed(SummedReader<'a>),
    Rotated(RotatedReader<'a>),
}

impl<'a> ValueReader<'a> {
    /// Reads values of the tensor's own type.
    pub(in crate::execute) fn new(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        Self(match tensor.turn {
            None => Values::Summed(SummedReader::new(files, tensor)),
            Some(turn) => Values::Rotated(RotatedReader::new(files, tensor, turn, tensor.float())),
        })
    }

    /// Reads values of the type that [`Self::wide_float`] gives: what is changed is not rounded.
    pub(in crate::execute) fn wide(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        Self(match tensor.turn {
            None => Values::Summed(SummedReader::wide(files, tensor)),
            Some(turn) => Values::Rotated(RotatedReader::new(files, tensor, turn, FloatType::F32)),
        })
    }

    /// The type of the values that [`Self::wide`] reads.
    pub(in crate::execute) fn wide_float(tensor: &PlannedTensor) -> FloatType {
        if tensor.is_changed() { FloatType::F32 } else { tensor.float() }
    }

    /// Reads the blocks of a tensor as they are.
    pub(in crate::execute) fn blocks(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        Self(Values::Summed(SummedReader::blocks(files, tensor)))
    }

    /// The next piece; `None` after the last.
    pub(in crate::execute) fn next<'b>(
        &mut self,
        buffers: &'b mut ValueBuffers,
    ) -> Result<Option<Piece<'b>>, ImportError> {
        match &mut self.0 {
            Values::Summed(reader) => reader.next(&mut buffers.summed),
            Values::Rotated(reader) => reader.next(&mut buffers.rotated, &mut buffers.summed),
        }
    }

    /// Number of codes so far that were NaN by mistake and were replaced by the largest number.
    pub(in crate::execute) fn mended(&self) -> u64 {
        match &self.0 {
            Values::Summed(reader) => reader.mended(),
            Values::Rotated(reader) => reader.mended(),
        }
    }
}
