//! Reading the values of a planned tensor, however the source stores them and whatever is done to them.

use longshore_quant::FloatType;

use super::{
    piece::Piece,
    rotated::{RotateBuffers, RotatedReader},
    scaled::{ScaleBuffers, ScaledReader},
    shards::ShardFiles,
    summed::{SumBuffers, SummedReader},
};
use crate::{execute::error::ImportError, plan::planned::PlannedTensor};

/// Buffers for reading, reused for every piece of every tensor.
#[derive(Debug, Default)]
pub(in crate::execute) struct ValueBuffers {
    summed: SumBuffers,
    rotated: RotateBuffers,
    scaled: ScaleBuffers,
}

/// Reads the values of a planned tensor, piece by piece, with what adapters add to them, and rotated or multiplied by factors if the plan
/// says so.
pub(in crate::execute) struct ValueReader<'a>(Values<'a>);

enum Values<'a> {
    Summed(SummedReader<'a>),
    Rotated(RotatedReader<'a>),
    Scaled(ScaledReader<'a>),
}

impl<'a> Values<'a> {
    /// Values of type `output` that are changed once they are summed, if the plan changes them so.
    fn changed(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor, output: impl Fn() -> FloatType) -> Option<Self> {
        match (tensor.turn, &tensor.factors) {
            (Some(turn), _) => Some(Self::Rotated(RotatedReader::new(files, tensor, turn, output()))),
            (None, Some(factors)) => Some(Self::Scaled(ScaledReader::new(files, tensor, factors, output()))),
            (None, None) => None,
        }
    }
}

impl<'a> ValueReader<'a> {
    /// Reads values of the tensor's own type.
    pub(in crate::execute) fn new(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        Self(match Values::changed(files, tensor, || tensor.float()) {
            Some(values) => values,
            None => Values::Summed(SummedReader::new(files, tensor)),
        })
    }

    /// Reads values of the type that [`Self::wide_float`] gives: what is changed is not rounded.
    pub(in crate::execute) fn wide(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        Self(match Values::changed(files, tensor, || FloatType::F32) {
            Some(values) => values,
            None => Values::Summed(SummedReader::wide(files, tensor)),
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
            Values::Scaled(reader) => reader.next(&mut buffers.scaled, &mut buffers.summed),
        }
    }

    /// Number of codes so far that were NaN by mistake and were replaced by the largest number.
    pub(in crate::execute) fn mended(&self) -> u64 {
        match &self.0 {
            Values::Summed(reader) => reader.mended(),
            Values::Rotated(reader) => reader.mended(),
            Values::Scaled(reader) => reader.mended(),
        }
    }
}
